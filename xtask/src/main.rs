//! Builds, checks and measures Broadhead: `cargo xtask COMMAND`.
//!
//! A command is one module with one public function. What takes long to compile (the book, the
//! benchmarks) is a program of its own that a command here builds and runs, so that `cargo xtask`
//! starts at once.

#![allow(clippy::print_stdout, reason = "what a command prints is its result")]

mod bench;
mod bench_gpu;
mod ci;
mod docs;
mod examples;
mod fuzz;
mod kernels;
mod licences;
mod memory;
mod pack;
mod python;
mod readme;
mod shell;
mod test_gpu;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs every step of the gate and prints one line a step.
    Ci(ci::Options),
    /// Checks the rules about the source tree that no compiler checks.
    Tidy,
    /// Checks the licences and sources of all dependencies against deny.toml.
    Licences,
    /// Builds the API documentation and the book, equations rendered, links checked.
    Docs,
    /// Runs every example of every crate.
    Examples,
    /// Runs mutated files through the readers of files, for a minute or as long as is asked.
    Fuzz(fuzz::Options),
    /// Measures on this machine's processors, peers in alternation, and writes records.
    BenchCpu(bench::Options),
    /// Measures on this machine's device, or packs all that a machine with one needs. Exits 3 without.
    BenchGpu(bench_gpu::Options),
    /// Runs the device tests, or packs them for a machine with a device. Exits 3 without.
    TestGpu(test_gpu::Options),
    /// Turns records into the book's tables and charts.
    Report {
        /// Fails where the committed ones differ, and writes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Runs the unsafe code that needs no device under tools that watch every access: Miri, or
    /// AddressSanitizer and valgrind. Exits 3 where Miri is not here.
    Memory(memory::Options),
    /// Compiles the device kernels to machine code for each supported architecture, without a GPU.
    Kernels,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = shell::root();
    let outcome = match arguments.command {
        Command::Ci(options) => ci::run(&root, &options),
        Command::Tidy => tidy::run(&root),
        Command::Licences => licences::run(&root),
        Command::Docs => docs::run(&root),
        Command::Examples => examples::run(&root),
        Command::Fuzz(options) => fuzz::run(&root, &options),
        Command::BenchCpu(options) => bench::run(&root, &options),
        Command::BenchGpu(options) => bench_gpu::run(&root, &options),
        Command::TestGpu(options) => test_gpu::run(&root, &options),
        Command::Report { check } => bench::report(&root, check),
        Command::Memory(options) => memory::run(&root, &options),
        Command::Kernels => kernels::run(&root),
    };
    match outcome {
        Ok(shell::Outcome::Passed) => ExitCode::SUCCESS,
        Ok(shell::Outcome::NotRun(reason)) => {
            eprintln!("not run: {reason}");
            ExitCode::from(3)
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
