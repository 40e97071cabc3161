//! The threads of the program: one pool, made before any work.
//!
//! `RAYON_NUM_THREADS` says how many, as for any program that uses rayon. Rayon itself accepts any
//! number, so a hundred thousand threads hang the machine, and silently ignores a word that is not a
//! number; this program bounds the first and warns of the second. Programs that use the libraries have
//! rayon's own behaviour.

use crate::CliError;
use std::ffi::OsStr;
use std::io::Write;

/// The variable that says how many threads there are.
pub const VARIABLE: &str = "RAYON_NUM_THREADS";

/// The most threads per processor: more would only wait for each other.
const MOST_EACH: usize = 4;

/// Makes the pool.
///
/// # Errors
/// [`CliError::Threads`] where the system gives not even one thread.
pub fn start() -> Result<(), CliError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let value = std::env::var_os(VARIABLE);
    let (mut count, warning) = wanted(value.as_deref(), processors);
    if let Some(warning) = warning {
        warn(&warning);
    }
    loop {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count);
        match pool.build_global() {
            Ok(()) => break,
            // There may be a limit on processes or addresses.
            Err(error) if count > 1 => {
                warn(&format!("{count} threads cannot be had: {error}"));
                count /= 2;
            }
            Err(error) => return Err(CliError::Threads(error)),
        }
    }
    // Each thread opens its heap now, so that memory limits are read after that and not before.
    rayon::broadcast(|_| drop(std::hint::black_box(vec![0_u8; 4096])));
    Ok(())
}

fn warn(text: &str) {
    // If it cannot be written the work goes on.
    let _ = writeln!(std::io::stderr(), "broadhead: warning: {text}");
}

/// How many threads the variable's value asks for on `processors` processors, and the warning for it,
/// if any.
fn wanted(value: Option<&OsStr>, processors: usize) -> (usize, Option<String>) {
    let Some(value) = value else {
        return (processors, None);
    };
    let most = processors.saturating_mul(MOST_EACH);
    let shown: String = value.to_string_lossy().chars().take(40).collect();
    let text = value.to_str().unwrap_or_default().trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Digits that do not fit in a machine word are still a number.
    let count = is_number.then(|| text.parse::<usize>().unwrap_or(usize::MAX));
    match count {
        Some(count) if (1..=most).contains(&count) => (count, None),
        Some(count) if count > most => (
            most,
            Some(format!(
                "{VARIABLE} is {shown:?}: {most} threads are used, {MOST_EACH} for each processor"
            )),
        ),
        _ => (
            processors,
            Some(format!(
                "{VARIABLE} is {shown:?}: expected a whole number of at least 1; {processors} \
                 threads are used, one for each processor"
            )),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_gives_a_count_that_serves() {
        let of = |value: Option<&str>| wanted(value.map(OsStr::new), 2);
        assert_eq!(of(None), (2, None));
        for (value, count) in [("1", 1), ("8", 8), (" 3\n", 3)] {
            assert_eq!(of(Some(value)), (count, None), "{value:?}");
        }
        for value in [
            "9",
            "100000",
            "18446744073709551615",
            "18446744073709551616",
        ] {
            let (count, warning) = of(Some(value));
            assert_eq!(count, 8, "{value:?}");
            assert!(warning.unwrap().contains(VARIABLE), "{value:?}");
        }
        for value in ["", "0", "-1", "two", "1.5", "+3", "0x4", "\u{1b}[2J"] {
            let (count, warning) = of(Some(value));
            assert_eq!(count, 2, "{value:?}");
            let warning = warning.unwrap();
            assert!(warning.contains(VARIABLE) && !warning.contains('\u{1b}'));
        }
    }
}
