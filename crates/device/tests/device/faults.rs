//! Each fault is provoked, answers with its own type, and the next call works.
//!
//! What ends a device for its process is done in a child: this program again, with a variable that
//! names the deed.

use crate::kernels::{SOURCE, add_one, write_far};
use broadhead_device::kernels::{Geometry, KernelSource};
use broadhead_device::{
    Absence, ByteClass, Context, DeviceError, Fault, Ledger, Matrix, MatrixMut, Refusal, probe,
};
use broadhead_testkit::device::{
    Failed, Outcome, Trial, anywhere, expect, expect_eq, on_device, record, stream,
};
use std::path::Path;
use std::process::{Command, ExitCode};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        on_device(
            "faults::out_of_memory_says_asked_and_free_and_the_next_call_works",
            out_of_memory,
        ),
        on_device(
            "faults::a_source_that_does_not_compile_answers_the_log",
            no_compile,
        ),
        on_device("faults::arguments_of_other_sizes_are_refused", arguments),
        on_device("faults::a_device_that_is_not_listed_is_an_absence", ordinal),
        on_device(
            "faults::after_a_bad_kernel_every_handle_says_lost",
            bad_kernel,
        ),
        on_device("faults::two_processes_share_one_cache", shared_cache),
        anywhere("faults::a_hidden_library_is_named", hidden_library),
    ]
}

/// The variable that makes this program a child.
const DEED: &str = "BROADHEAD_TEST_DEED";

/// Does the deed that the parent asked for, where there is one.
pub(crate) fn child() -> Option<ExitCode> {
    let deed = std::env::var_os(DEED)?.into_string().unwrap_or_default();
    let done = match deed.as_str() {
        "bad-kernel" => lose_the_device(),
        "compile" => compile(),
        "report" => report(),
        other => Err(format!("no deed {other}").into()),
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{}", failed.message().unwrap_or("failed"));
            ExitCode::FAILURE
        }
    })
}

fn again(deed: &str) -> Result<Command, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(DEED, deed);
    Ok(command)
}

/// What the child printed, if it ended well.
fn printed(command: &mut Command) -> Result<String, Failed> {
    let output = command.output()?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    match output.status.success() {
        true => Ok(out),
        false => Err(format!("the child ended with {}: {out}{err}", output.status).into()),
    }
}

fn out_of_memory(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let total = context.memory()?.total;
    let asked = total + (1 << 30);
    let answer = stream.alloc::<u8>(asked as usize, "too much");
    let Err(DeviceError::Fault(fault @ Fault::OutOfMemory { .. })) = answer else {
        return Err(format!("asked for {asked} bytes of {total}: {answer:?}").into());
    };
    let Fault::OutOfMemory {
        asked: said,
        free,
        what_for,
    } = &fault
    else {
        return Err("not reached".into());
    };
    expect_eq("asked", *said, asked)?;
    expect_eq("what for", what_for.as_str(), "too much")?;
    expect(
        *free > 0 && *free <= total,
        format!("free: {free} of {total}"),
    )?;
    record(
        "out-of-memory",
        serde_json::json!({ "fault": fault, "text": fault.to_string() }),
    )?;
    let mut next = stream.zeros::<f64>(1000, "next")?;
    add_one(&stream, next.view_mut())?;
    expect_eq(
        "next",
        stream.download(next.view(), ByteClass::Other)?[999],
        1.0,
    )?;
    let refused = context.expect_free(asked, "too much");
    let refused = matches!(refused, Err(DeviceError::Refusal(Refusal::Memory { .. })));
    expect(refused, "more than all memory was not refused")?;
    let absurd = stream.alloc::<f64>(usize::MAX, "absurd");
    let refused = matches!(absurd, Err(DeviceError::Refusal(Refusal::Memory { .. })));
    expect(refused, format!("an overflowing size: {absurd:?}"))
}

fn no_compile(context: &Context) -> Outcome {
    const WRONG: KernelSource = KernelSource {
        name: "wrong.cu",
        text: "extern \"C\" __global__ void wrong() { undeclared = 1; }",
        declares: &[],
        entries: &["wrong"],
        options: &[],
    };
    match context.module(&WRONG) {
        Err(DeviceError::Fault(Fault::Compile {
            source_name, log, ..
        })) => {
            expect_eq("name", source_name.as_str(), "wrong.cu")?;
            expect(log.contains("undeclared"), format!("the log: {log}"))?;
        }
        Err(other) => return Err(format!("a wrong source: {other}").into()),
        Ok(_) => return Err("a wrong source compiled".into()),
    }
    context.module(&SOURCE).map(drop)?;
    Ok(())
}

fn arguments(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let mut x = stream.zeros::<f64>(10, "test")?;
    let module = context.module(&SOURCE)?;
    let kernel = module.kernel("add_one")?;
    let wide = kernel
        .launch(&stream, Geometry::line(1, 32))
        .write(x.view_mut())
        .scalar(10i64);
    // SAFETY: refused before anything is launched: the second argument is 4 bytes.
    let wide = unsafe { wide.submit() };
    let few = kernel
        .launch(&stream, Geometry::line(1, 32))
        .write(x.view_mut());
    // SAFETY: refused before anything is launched: an argument is missing.
    let few = unsafe { few.submit() };
    for (what, answer) in [("8 bytes for 4", wide), ("one argument for two", few)] {
        let refused = matches!(answer, Err(DeviceError::Refusal(Refusal::Shape { .. })));
        expect(refused, format!("{what}: {answer:?}"))?;
    }
    expect(
        module.kernel("add_two").is_err(),
        "a kernel that is not there",
    )?;
    add_one(&stream, x.view_mut())?;
    expect_eq(
        "x",
        stream.download(x.view(), ByteClass::Other)?,
        vec![1.0; 10],
    )
}

fn ordinal(_: &Context) -> Outcome {
    let listed = probe::cuda()?.devices.len();
    match Context::open(listed) {
        Err(DeviceError::Absence(Absence::Ordinal {
            asked,
            listed: said,
        })) => expect_eq("asked and listed", (asked, said), (listed, listed)),
        other => Err(format!("device {listed} of {listed}: {other:?}").into()),
    }
}

fn bad_kernel(context: &Context) -> Outcome {
    let lines = printed(&mut again("bad-kernel")?)?;
    let fault: Fault = serde_json::from_str(lines.trim())?;
    expect(
        matches!(fault, Fault::DeviceLost { .. }),
        format!("the child found {fault:?}"),
    )?;
    record(
        "bad-kernel-in-a-child",
        serde_json::json!({ "fault": fault, "text": fault.to_string() }),
    )?;
    // This process goes on.
    let stream = stream(context)?;
    let mut x = stream.zeros::<f64>(10, "test")?;
    add_one(&stream, x.view_mut())?;
    expect_eq(
        "x",
        stream.download(x.view(), ByteClass::Other)?,
        vec![1.0; 10],
    )
}

/// Loses the device; asks every kind of handle; drops all of them; prints the fault.
fn lose_the_device() -> Outcome {
    let context = Context::open(0)?;
    let stream = context.stream(&Ledger::new())?;
    let other = context.stream(&Ledger::new())?;
    let mut x = stream.zeros::<f64>(16, "test")?;
    let mut y = other.zeros::<f64>(16, "test")?;
    let mut pinned = stream.pinned::<f64>(16, "test")?;
    stream.prepare_handles()?;
    other.prepare_handles()?;
    add_one(&stream, x.view_mut())?;
    let mut graph = stream.capture(|s| add_one(s, x.view_mut()))?;
    let mark = stream.mark()?;
    let module = context.module(&SOURCE)?;
    write_far(&stream, x.view_mut())?;
    let first = match stream.synchronize() {
        Err(DeviceError::Fault(fault @ Fault::DeviceLost { .. })) => fault,
        answer => return Err(format!("after a bad kernel: {answer:?}").into()),
    };
    let product = |y: &mut broadhead_device::DeviceBuffer<f64>| {
        let a = Matrix::packed(x.view(), 4, 4)?;
        let mut c = MatrixMut::packed(y.view_mut(), 4, 4)?;
        stream.gemm(1.0, a, a, 0.0, &mut c)
    };
    let mut here = None;
    let moved = stream.alloc::<f64>(1, "after").map(|b| here = Some(b));
    let answers = [
        ("synchronize", other.synchronize()),
        ("alloc", moved),
        (
            "upload",
            other.upload_into(&[0.0; 16], y.view_mut(), ByteClass::Other),
        ),
        ("launch", add_one(&other, y.view_mut())),
        ("graph", graph.launch()),
        ("mark", stream.mark().map(drop)),
        ("since", mark.since(&mark).map(drop)),
        ("stream", context.stream(&Ledger::new()).map(drop)),
        (
            "memory",
            context.memory().map(drop).map_err(DeviceError::from),
        ),
        ("module", context.module(&SOURCE).map(drop)),
        ("open", Context::open(0).map(drop)),
        ("handles", stream.prepare_handles()),
        (
            "pinned",
            stream.download_pinned(x.view(), &mut pinned, ByteClass::Other),
        ),
    ];
    for (call, answer) in answers {
        let same = matches!(&answer, Err(DeviceError::Fault(fault)) if *fault == first);
        expect(same, format!("{call} after the loss: {answer:?}"))?;
    }
    // Its buffers are of two streams, which is refused before the device is asked.
    expect(product(&mut y).is_err(), "a product after the loss")?;
    drop((graph, module, mark, pinned, x, y, stream, other, context));
    use std::io::Write;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&first)?)?;
    Ok(())
}

/// Two children compile the same kernels into one new folder at once.
fn shared_cache(_: &Context) -> Outcome {
    let folder = tempfile::tempdir()?;
    let children = (0..4).map(|_| {
        let mut command = again("compile")?;
        command.env("BROADHEAD_CACHE_DIR", folder.path());
        Ok(command.stdout(std::process::Stdio::piped()).spawn()?)
    });
    let children = children.collect::<Result<Vec<_>, Failed>>()?;
    for child in children {
        let output = child.wait_with_output()?;
        expect(
            output.status.success(),
            format!("a child ended with {}", output.status),
        )?;
    }
    let names = || -> Result<Vec<String>, Failed> {
        let files = std::fs::read_dir(folder.path())?;
        let names = files.map(|f| Ok(f?.file_name().to_string_lossy().into_owned()));
        names.collect::<Result<_, Failed>>()
    };
    let kept = names()?;
    expect(
        kept.len() == 1 && kept[0].ends_with(".cubin"),
        format!("the folder holds {kept:?}"),
    )?;
    // A harmed file is compiled again, not loaded.
    let path = folder.path().join(&kept[0]);
    std::fs::write(&path, b"harmed")?;
    printed(again("compile")?.env("BROADHEAD_CACHE_DIR", folder.path()))?;
    expect(
        std::fs::metadata(&path)?.len() > 1000,
        "the harmed file was left",
    )?;
    record(
        "four-processes-one-cache",
        serde_json::json!({ "files": names()?.len() }),
    )
}

fn compile() -> Outcome {
    let context = Context::open(0)?;
    let stream = context.stream(&Ledger::new())?;
    let mut x = stream.alloc::<f64>(10, "test")?;
    stream.zero(x.view_mut())?;
    add_one(&stream, x.view_mut())?;
    expect_eq(
        "x",
        stream.download(x.view(), ByteClass::Other)?,
        vec![1.0; 10],
    )
}

/// A child finds files that are no libraries under every name of cuSOLVER, before any other.
fn hidden_library() -> Outcome {
    let folder = tempfile::tempdir()?;
    let names = [
        "libcusolver.so",
        "libcusolver.so.13",
        "libcusolver.so.12",
        "libcusolver.so.11",
    ];
    for name in names {
        std::fs::write(folder.path().join(name), "this is no library")?;
    }
    let path = with_first(folder.path())?;
    let lines = printed(again("report")?.env("LD_LIBRARY_PATH", path))?;
    let report: probe::Report = serde_json::from_str(lines.trim())?;
    let found = report.components.iter().find(|c| c.name == "cuSOLVER");
    match found.map(|c| &c.state) {
        Some(probe::State::Absent(Absence::Broken { library, file, .. })) => {
            expect_eq("library", library.as_str(), "cuSOLVER")?;
            expect_eq("file", file.as_str(), "libcusolver.so")?;
            let what = serde_json::json!({ "broken": library, "file": file });
            record("hidden-library", what)
        }
        other => Err(format!("cuSOLVER hidden: {other:?}").into()),
    }
}

fn with_first(folder: &Path) -> Result<std::ffi::OsString, Failed> {
    let old = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let paths = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&old));
    Ok(std::env::join_paths(paths)?)
}

fn report() -> Outcome {
    use std::io::Write;
    // The answer for device work must come without a panic, whichever it is.
    drop(probe::cuda());
    writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string(&probe::report())?
    )?;
    Ok(())
}
