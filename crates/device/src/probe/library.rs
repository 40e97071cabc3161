//! One shared library: the names it goes by, how it is opened, what it must export.
//!
//! The names are those that the bindings try, in their order, so that what is probed here is what
//! is called later: the loader hands out one copy of a library a process. A library, once opened,
//! stays open.

use crate::Absence;
use libloading::{Library, Symbol};

/// A shared library that is open and exports everything that this crate calls.
pub(crate) struct Opened {
    /// The library's common name.
    pub(crate) name: &'static str,
    /// The file name that the loader took.
    pub(crate) file: String,
    library: Library,
}

/// What to open: a common name, file names in order, symbols that must be there.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    pub(crate) files: Vec<String>,
    pub(crate) symbols: &'static [&'static str],
}

impl Wanted {
    /// A library by the stems that the bindings know, with further file names after those.
    pub(crate) fn by_stem(
        name: &'static str,
        stems: &[&str],
        further: &[&str],
        symbols: &'static [&'static str],
    ) -> Self {
        let mut files: Vec<String> = Vec::new();
        let bound = stems
            .iter()
            .flat_map(|s| cudarc::get_lib_name_candidates(s));
        for file in bound.chain(further.iter().map(|f| (*f).to_owned())) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        Self {
            name,
            files,
            symbols,
        }
    }

    /// Opens the first file that loads and looks for every symbol.
    pub(crate) fn open(&self) -> Result<Opened, Absence> {
        let mut broken = None;
        for file in &self.files {
            // SAFETY: loading runs the library's initialisers. The names are those of the vendor's
            // own libraries, which are made to be opened this way.
            match unsafe { Library::new(file) } {
                Ok(library) => return self.checked(file, library),
                Err(error) => {
                    broken = broken.or_else(|| broken_reason(file, &error).map(|r| (file, r)));
                }
            }
        }
        Err(match broken {
            Some((file, reason)) => Absence::Broken {
                library: self.name.to_owned(),
                file: file.clone(),
                reason,
            },
            None => Absence::Library {
                library: self.name.to_owned(),
                tried: self.files.clone(),
            },
        })
    }

    fn checked(&self, file: &str, library: Library) -> Result<Opened, Absence> {
        let opened = Opened {
            name: self.name,
            file: file.to_owned(),
            library,
        };
        for symbol in self.symbols {
            // SAFETY: the address is looked up and not called.
            unsafe { opened.symbol::<*const ()>(symbol) }?;
        }
        Ok(opened)
    }
}

impl Opened {
    /// Looks up `symbol` as a function of type `F`.
    ///
    /// # Safety
    /// `F` must be the C type of that symbol, and the copy must not outlive the library.
    pub(crate) unsafe fn symbol<F: Copy>(&self, symbol: &str) -> Result<F, Absence> {
        // SAFETY: the caller promises the type.
        let found: Result<Symbol<'_, F>, _> = unsafe { self.library.get(symbol.as_bytes()) };
        found.map(|s| *s).map_err(|_| Absence::Symbol {
            library: self.name.to_owned(),
            symbol: symbol.to_owned(),
        })
    }
}

/// What is wrong with a file that exists; nothing where the loader merely did not find it.
///
/// The loader reports both with one error. It names the file it could not find first; where that
/// is another file, the one asked for was found and a dependency of it was not.
fn broken_reason(file: &str, error: &libloading::Error) -> Option<String> {
    let text = match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    let absent = text
        .strip_prefix(file)
        .is_some_and(|rest| rest.starts_with(": cannot open shared object file: No such file"));
    let absent = absent || text.contains("LoadLibraryExW failed") && !text.contains("193");
    (!absent).then_some(text)
}
