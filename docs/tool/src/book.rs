//! The book, by mdBook as a library.

use crate::error::Error;
use mdbook_driver::MDBook;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Counts warnings and errors that mdBook reports and does not fail on.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Builds the book in `source` into `output`, which is emptied first.
///
/// # Errors
/// mdBook fails or warns, or the output cannot be emptied.
pub(crate) fn build(source: &Path, output: &Path) -> Result<(), Error> {
    if output.exists() {
        std::fs::remove_dir_all(output).map_err(|source| Error::File {
            path: output.to_path_buf(),
            source,
        })?;
    }
    let output = std::path::absolute(output).map_err(|source| Error::File {
        path: output.to_path_buf(),
        source,
    })?;
    let warnings = Warnings::default();
    let format = tracing_subscriber::fmt::layer()
        .without_time()
        .with_writer(std::io::stderr);
    let level = tracing_subscriber::filter::LevelFilter::WARN;
    let subscriber = tracing_subscriber::registry()
        .with(format.with_filter(level))
        .with(warnings.clone());
    tracing::subscriber::with_default(subscriber, || {
        let mut book = MDBook::load(source)?;
        book.config.build.build_dir = output;
        book.build()
    })
    .map_err(|error| Error::Book(format!("{error:#}")))?;
    match warnings.0.load(Ordering::Relaxed) {
        0 => Ok(()),
        count => Err(Error::Warnings(count)),
    }
}
