//! What a kernel's text is given when it is compiled: records and constants that Rust declares.
//!
//! A constant that both languages need is written once, in Rust. Its value stands before the kernel's
//! text as a `constexpr` line, to the last bit.

use crate::record::Layout;

/// One declaration that stands before a kernel's text; [`declares!`](crate::declares!) makes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Declaration {
    /// All of a list.
    All(&'static [Declaration]),
    /// A struct, with those that it is made of.
    Record(&'static Layout),
    /// `constexpr int`: name and value.
    Int(&'static str, i32),
    /// `constexpr long long`: name and value.
    Long(&'static str, i64),
    /// `constexpr double`: name and value, a finite number.
    Double(&'static str, f64),
}

/// The text of `declarations`, in their order; a record that stands there already is not repeated.
pub(super) fn text(declarations: &[Declaration]) -> String {
    let mut text = String::new();
    write_all(declarations, &mut text, &mut Vec::new());
    text
}

fn write_all(declarations: &[Declaration], text: &mut String, written: &mut Vec<&'static str>) {
    for declaration in declarations {
        match declaration {
            Declaration::All(list) => write_all(list, text, written),
            Declaration::Record(layout) => layout.declare(text, written),
            Declaration::Int(name, value) => {
                *text += &format!("[[maybe_unused]] constexpr int {name} = {value};\n")
            }
            Declaration::Long(name, value) => {
                *text += &format!("[[maybe_unused]] constexpr long long {name} = {value}ll;\n");
            }
            Declaration::Double(name, value) => {
                *text += &format!(
                    "[[maybe_unused]] constexpr double {name} = {};\n",
                    hexadecimal(*value)
                );
            }
        }
    }
}

/// A finite number as C++17 writes it without rounding.
fn hexadecimal(x: f64) -> String {
    const FRACTION: u64 = (1 << 52) - 1;
    let (bits, sign) = (
        x.abs().to_bits(),
        if x.is_sign_negative() { "-" } else { "" },
    );
    let (exponent, fraction) = ((bits >> 52) as i64, bits & FRACTION);
    match exponent {
        // Zero, and what lies below the smallest normal number.
        0 => format!("{sign}0x0.{fraction:013x}p-1022"),
        _ => format!("{sign}0x1.{fraction:013x}p{}", exponent - 1023),
    }
}

/// A list of declarations for [`KernelSource::declares`](crate::kernels::KernelSource::declares).
///
/// ```text
/// declares![all SHARED, record Pivot, int THREADS, long KEY, double TOLERANCE, int TILE = 2 * HALF]
/// ```
/// `all` takes the name of another such list, `record` that of a [record](mod@crate::record); `int`, `long` and `double` take the name of a
/// constant in scope, or a name and a constant expression. A value that does not fit an `int` does not
/// compile.
#[macro_export]
macro_rules! declares {
    ($($kind:ident $name:ident $(= $value:expr)?),* $(,)?) => {
        &[$($crate::declares!(@ $kind $name $(= $value)?)),*]
    };
    (@ all $name:ident) => {
        $crate::kernels::Declaration::All($name)
    };
    (@ record $name:ident) => {
        $crate::kernels::Declaration::Record(&<$name as $crate::record::Record>::LAYOUT)
    };
    (@ int $name:ident) => { $crate::declares!(@ int $name = $name) };
    (@ int $name:ident = $value:expr) => {
        $crate::kernels::Declaration::Int(stringify!($name), {
            const VALUE: i64 = $value as i64;
            assert!(VALUE as i32 as i64 == VALUE, "not an int");
            VALUE as i32
        })
    };
    (@ long $name:ident) => { $crate::declares!(@ long $name = $name) };
    (@ long $name:ident = $value:expr) => {
        $crate::kernels::Declaration::Long(stringify!($name), $value as i64)
    };
    (@ double $name:ident) => { $crate::declares!(@ double $name = $name) };
    (@ double $name:ident = $value:expr) => {
        $crate::kernels::Declaration::Double(stringify!($name), $value)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_to_its_last_bit() {
        let of = |text: &str| {
            let (mantissa, exponent) = text.strip_prefix("0x").unwrap().split_once('p').unwrap();
            let (whole, fraction) = mantissa.split_once('.').unwrap();
            let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap();
            let exponent: i32 = exponent.parse().unwrap();
            // In two steps, each exact.
            digits as f64 * 2f64.powi(-52) * 2f64.powi(exponent)
        };
        for x in [
            0.0,
            1.0,
            0.1,
            1e-300,
            2f64.powi(486),
            f64::MAX,
            f64::MIN_POSITIVE,
        ] {
            assert_eq!(of(&hexadecimal(x)), x, "{}", hexadecimal(x));
        }
        assert_eq!(hexadecimal(2f64.powi(-511)), "0x1.0000000000000p-511");
        assert_eq!(hexadecimal(-1.5), "-0x1.8000000000000p0");
        assert_eq!(hexadecimal(f64::from_bits(1)), "0x0.0000000000001p-1022");
    }

    #[test]
    fn constants_are_declared_with_their_names() {
        const KEY: i64 = 1 << 40;
        const THREADS: u32 = 256;
        const LEAST: f64 = 0.25;
        let text = text(declares![
            int THREADS,
            long KEY,
            double LEAST,
            int HALF = THREADS / 2,
        ]);
        let expected = [
            "constexpr int THREADS = 256;",
            "constexpr long long KEY = 1099511627776ll;",
            "constexpr double LEAST = 0x1.0000000000000p-2;",
            "constexpr int HALF = 128;",
        ]
        .map(|line| format!("[[maybe_unused]] {line}\n"));
        assert_eq!(text, expected.concat());
    }
}
