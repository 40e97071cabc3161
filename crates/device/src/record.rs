//! Records: what a kernel writes and a host, or another kernel, reads back, declared once for both.
//!
//! [`record!`](crate::record!) makes one declaration into a Rust struct and into the text of the same
//! struct in CUDA C++, which [`KernelSource`](crate::kernels::KernelSource) puts before a kernel's own
//! text when it is compiled:
//!
//! ```text
//!   record! { struct Pivot { value: f64, row: i64 } }
//!     Rust   #[repr(C)] struct Pivot { value: f64, row: i64 }         no padding, or it does not compile
//!     CUDA   struct Pivot { double value; long long row; };           its size is asserted
//! ```
//! So both sides reach a field by its name, and a field that moves or changes its type moves on both.
//! Without padding the size fixes where each field lies.
//!
//! ```
//! use broadhead_device::kernels::KernelSource;
//! use broadhead_device::record::Record;
//!
//! broadhead_device::record! {
//!     /// A pivot.
//!     struct Pivot {
//!         /// Its value.
//!         value: f64,
//!         /// Its row.
//!         row: i64,
//!     }
//! }
//! const WARP: i64 = 32;
//!
//! assert_eq!(Pivot::LAYOUT.bytes, 16);
//! let source = KernelSource {
//!     name: "pivot.cu",
//!     text: "",
//!     declares: broadhead_device::declares![record Pivot, int WARP],
//!     entries: &[],
//!     options: &[],
//! };
//! let text = source.assembled();
//! assert!(text.contains("struct Pivot {\n  double value;\n  long long row;\n};"));
//! assert!(text.contains("constexpr int WARP = 32;"));
//! ```
//!
//! # Invariants
//! - A record is made of `f64`, `u64`, `i64`, `u32`, arrays of them, and records. It has no padding, so
//!   every byte of it is written and every pattern of bytes is a value of it.
//! - All zero bytes are a record of zeros, which is what a buffer begins with: [`Record::ZERO`].

use crate::runtime::buffer::Element;
use std::fmt::Write;
use std::marker::PhantomData;

/// What a field of a record is in CUDA C++.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldType {
    /// The name of the type, of one element where it is an array.
    pub name: &'static str,
    /// Elements, where it is an array.
    pub elements: Option<usize>,
    /// Its own layout, where it is a record.
    pub record: Option<&'static Layout>,
}

/// A type that a field of a record may have.
pub trait InRecord: Element {
    /// The same type in CUDA C++.
    const TYPE: FieldType;
    /// The value of which every byte is zero.
    const ZERO: Self;
}

macro_rules! numbers {
    ($($rust:ty => $cuda:literal, $zero:literal);* $(;)?) => {$(
        impl InRecord for $rust {
            const TYPE: FieldType = FieldType { name: $cuda, elements: None, record: None };
            const ZERO: Self = $zero;
        }
    )*};
}
numbers! {
    f64 => "double", 0.0;
    u64 => "unsigned long long", 0;
    i64 => "long long", 0;
    u32 => "unsigned", 0;
}

impl<T: InRecord, const N: usize> InRecord for [T; N] {
    const TYPE: FieldType = FieldType {
        elements: match T::TYPE.elements {
            None => Some(N),
            Some(_) => panic!("an array of arrays is no field of a record"),
        },
        ..T::TYPE
    };
    const ZERO: Self = [T::ZERO; N];
}

/// A field as it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLayout {
    /// Its name, the same in both languages.
    pub name: &'static str,
    /// Bytes before it.
    pub offset: usize,
    /// What it is.
    pub field: FieldType,
}

/// A record as it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its name, the same in both languages.
    pub name: &'static str,
    /// Its size in bytes.
    pub bytes: usize,
    /// Its fields, in their order.
    pub fields: &'static [FieldLayout],
}

/// A record: see the [module](self). [`record!`](crate::record!) alone implements it.
pub trait Record: InRecord {
    /// As it lies.
    const LAYOUT: Layout;

    /// The value of which every byte is zero: what a buffer holds before a kernel wrote it.
    const ZERO: Self = <Self as InRecord>::ZERO;
}

/// A field of type `F` in a record `R`, which [`View::field`](crate::View::field) goes by;
/// [`field!`](crate::field!) makes it.
pub struct Field<R, F> {
    offset: usize,
    kind: PhantomData<fn(&R) -> &F>,
}

impl<R, F> Clone for Field<R, F> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R, F> Copy for Field<R, F> {}

impl<R: Record, F: InRecord> Field<R, F> {
    /// That which `get` answers, so many bytes from the start.
    #[doc(hidden)]
    pub const fn at(offset: usize, get: fn(&R) -> &F) -> Self {
        _ = get;
        Self {
            offset,
            kind: PhantomData,
        }
    }

    /// Bytes before it.
    pub const fn offset(self) -> usize {
        self.offset
    }
}

/// The [`Field`](crate::record::Field) of a record: `field!(Record, name)`.
#[macro_export]
macro_rules! field {
    ($record:ty, $field:ident) => {
        $crate::record::Field::at(
            ::std::mem::offset_of!($record, $field),
            |record: &$record| &record.$field,
        )
    };
}

impl Layout {
    /// Writes the struct in CUDA C++, with an assertion of its size; records that its fields are made of come
    /// first. `written` names those that are there already.
    pub(crate) fn declare(&self, text: &mut String, written: &mut Vec<&'static str>) {
        if written.contains(&self.name) {
            return;
        }
        written.push(self.name);
        for inner in self.fields.iter().filter_map(|field| field.field.record) {
            inner.declare(text, written);
        }
        let (name, bytes) = (self.name, self.bytes);
        let mut write = |line: std::fmt::Arguments<'_>| {
            // Writing to a string does not fail.
            text.write_fmt(line).unwrap_or_default();
        };
        write(format_args!("struct {name} {{\n"));
        for FieldLayout { name, field, .. } in self.fields {
            let elements = field.elements.map(|n| format!("[{n}]")).unwrap_or_default();
            write(format_args!("  {} {name}{elements};\n", field.name));
        }
        write(format_args!("}};\n"));
        write(format_args!(
            "static_assert(sizeof({name}) == {bytes}, \"{name}\");\n"
        ));
    }
}

/// Declares records: structs that kernels write and others read, in both languages. See
/// [`broadhead_device::record`](mod@crate::record).
///
/// The struct is `Copy`, `Debug`, `PartialEq` and `Default` (zeros), has the fields' order and no padding, and may lie in a
/// [`DeviceBuffer`](crate::DeviceBuffer).
#[macro_export]
macro_rules! record {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $kind:ty),+ $(,)?
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[repr(C)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $kind),+
        }

        const _: () = assert!(
            ::std::mem::size_of::<$name>() == 0 $(+ ::std::mem::size_of::<$kind>())+,
            "a record has no padding"
        );

        // SAFETY: its fields are elements, as `InRecord` asks of them, and there is nothing between them.
        unsafe impl $crate::Element for $name {}

        impl ::std::default::Default for $name {
            fn default() -> Self {
                <Self as $crate::record::InRecord>::ZERO
            }
        }

        impl $crate::record::InRecord for $name {
            const TYPE: $crate::record::FieldType = $crate::record::FieldType {
                name: stringify!($name),
                elements: None,
                record: Some(&<$name as $crate::record::Record>::LAYOUT),
            };
            const ZERO: Self = Self {
                $($field: <$kind as $crate::record::InRecord>::ZERO),+
            };
        }

        impl $crate::record::Record for $name {
            const LAYOUT: $crate::record::Layout = $crate::record::Layout {
                name: stringify!($name),
                bytes: ::std::mem::size_of::<$name>(),
                fields: &[$($crate::record::FieldLayout {
                    name: stringify!($field),
                    offset: ::std::mem::offset_of!($name, $field),
                    field: <$kind as $crate::record::InRecord>::TYPE,
                }),+],
            };
        }
    )+};
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::record! {
        /// A pair.
        struct Pair {
            /// First.
            first: u32,
            /// Second.
            second: u32,
        }

        /// What holds it.
        struct Outer {
            /// A number.
            number: f64,
            /// Pairs.
            pairs: [Pair; 2],
            /// Keys.
            keys: [i64; 3],
            /// Another pair.
            pair: Pair,
        }
    }

    #[test]
    fn a_record_lies_in_both_languages_as_it_is_declared() {
        let mut text = String::new();
        Outer::LAYOUT.declare(&mut text, &mut Vec::new());
        let expected = "struct Pair {\n  unsigned first;\n  unsigned second;\n};\n\
             static_assert(sizeof(Pair) == 8, \"Pair\");\n\
             struct Outer {\n  double number;\n  Pair pairs[2];\n  long long keys[3];\n  Pair pair;\n};\n\
             static_assert(sizeof(Outer) == 56, \"Outer\");\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_field_knows_its_place_and_type() {
        let pair: Field<Outer, Pair> = crate::field!(Outer, pair);
        let keys: Field<Outer, [i64; 3]> = crate::field!(Outer, keys);
        assert_eq!((pair.offset(), keys.offset()), (48, 24));
    }

    #[test]
    fn zero_bytes_are_a_record_of_zeros() {
        let zero = <Outer as Record>::ZERO;
        assert_eq!((zero.number, zero.keys, zero.pair.second), (0.0, [0; 3], 0));
        assert_eq!(zero.pairs.map(|pair| pair.first), [0; 2]);
    }
}
