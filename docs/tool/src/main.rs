//! Builds the book and renders equations ahead of time.
//!
//! ```text
//! broadhead-docs --book docs --katex docs/katex --rustdoc target/doc --output target/book
//! ```
//!
//! 1. the book, by mdBook as a library, every warning an error;
//! 2. KaTeX's style sheet and fonts beside the pages;
//! 3. every equation of the book's and of rustdoc's pages replaced by what KaTeX renders, in an
//!    embedded JavaScript engine: no browser, no network, and an equation that KaTeX refuses is an
//!    error that names page and formula;
//! 4. every relative link of the book followed.

mod book;
mod equations;
mod error;
mod katex;
mod links;
mod pages;

use error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where things are.
struct Arguments {
    book: PathBuf,
    katex: PathBuf,
    rustdoc: PathBuf,
    output: PathBuf,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = words.iter().position(|word| word == name);
        let path = at.and_then(|at| words.get(at + 1)).map(PathBuf::from);
        path.ok_or_else(|| Error::Usage(name.to_owned()))
    };
    Ok(Arguments {
        book: value("--book")?,
        katex: value("--katex")?,
        rustdoc: value("--rustdoc")?,
        output: value("--output")?,
    })
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    book::build(&arguments.book, &arguments.output)?;
    let engine = katex::Engine::load(&arguments.katex.join("katex.min.js"))?;
    for site in [&arguments.output, &arguments.rustdoc] {
        pages::copy(&arguments.katex, &site.join("katex"))?;
        let mut count = 0;
        for page in pages::html(site)? {
            let text = pages::read(&page)?;
            let (rendered, equations) =
                equations::render(&text, &engine).map_err(|refused| Error::Equation {
                    page: page.clone(),
                    tex: refused.tex,
                    message: refused.message,
                })?;
            if equations > 0 {
                pages::write(&page, &rendered)?;
                count += equations;
            }
        }
        eprintln!("{}: {count} equations rendered", site.display());
    }
    let checked = links::check(&arguments.output)?;
    eprintln!("{}: {checked} links checked", arguments.output.display());
    Ok(())
}
