//! The device tests: here, or as a pack for a machine with a device.
//!
//! Every crate with a folder `tests/device` has them. They are listed on every machine; without a
//! device each is skipped with its reason in its name.

use crate::pack::Pack;
use crate::shell::{self, Failure, Outcome};
use std::path::{Path, PathBuf};

/// What `test-gpu` runs or packs.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Makes a folder that runs on a machine without Rust, instead of running here.
    #[arg(long, value_name = "DIR")]
    pack: Option<PathBuf>,
    /// Checks the evidence that such a folder brought back, and puts it into benches/records.
    #[arg(long, value_name = "OUT", conflicts_with = "pack")]
    adopt: Option<PathBuf>,
    /// Further arguments of the tests, as a filter.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// The target of a crate that holds its device tests.
const TARGET: &str = "device";

/// The script of a pack, but for what it was built from and its programs.
const SCRIPT: &str = r#"
# Runs the device tests of this pack; a device must be there.
#
#   ./run.sh OUT [--sanitize] [FILTER]
#
# OUT/device-tests.jsonl holds their records and OUT/tests.txt what was printed. With --sanitize the
# parity tests of the solver and of the loop run again under the tools of compute-sanitizer: not the
# laws over hundreds of random systems, nor fits, which are more of the same kernels, nor what breaks a
# kernel on purpose or only takes long. Racecheck sees the kernels of these crates alone, no library's,
# in the smaller cases. First each tool must find a defect that was planted for it; but synccheck has
# none, since a barrier that does not meet may hang.
#
# Two tools cannot follow graphs with loops. Racecheck ends in a fault of its own in them, and in the
# graph of a whole fit, a branch in a loop, synccheck calls every thread of the first block of its
# first kernel divergent at the first barrier, which all of them reach, and does not of the same kernel
# elsewhere. Such graphs are left out there. Of what is launched in them alone, the kernels of a descent
# are driven by the host in tests of their own (descent::); of those between the iterates of a whole fit
# lm_ridge, lm_factored and lm_ready are one thread, and lm_settle is lm_judge, which is in every
# iterate, and what thread 0 then writes.
# OUT/sanitizer.jsonl holds what each tool found.
# Exit: 0 all passed, 1 otherwise.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
out=${1:?usage: run.sh OUT [--sanitize] [FILTER]}
shift
mkdir -p "$out" || exit 1
sanitize=
if [ "${1:-}" = --sanitize ]; then
    sanitize=1
    shift
fi
export BROADHEAD_REQUIRE_DEVICE=1
failed=0
{
    for program in $programs; do
        echo "== $program"
        BROADHEAD_RECORDS="$out/device-tests.jsonl" "$here/$program" "$@" || failed=1
    done
    exit $failed
} 2>&1 | tee "$out/tests.txt"
[ "${PIPESTATUS[0]}" = 0 ] || failed=1
grep -q '^test result: FAILED' "$out/tests.txt" && failed=1
[ "$(grep -c '^test result: ok' "$out/tests.txt")" = "$(echo $programs | wc -w)" ] || failed=1
if [ -n "$sanitize" ]; then
    export BROADHEAD_SANITIZE_SECONDS=${SANITIZE_SECONDS:-600}
    under() {
        tool=$1 program=$2
        shift 2
        echo "== $tool, $program $*"
        BROADHEAD_RECORDS="$out/sanitizer.jsonl" BROADHEAD_SANITIZE=$tool "$here/$program" "$@" \
            >>"$out/sanitizer.txt" 2>&1 || { failed=1; echo "not so"; tail -5 "$out/sanitizer.txt"; }
    }
    under memcheck schur-device planted::memcheck
    under initcheck schur-device planted::initcheck
    under racecheck schur-device planted::racecheck_first
    under racecheck schur-device planted::racecheck_last
    apart=(--skip planted:: --skip factor:: --skip core:: --skip conjugate_gradients:: --skip fits::)
    apart+=(--skip after_every_failure --skip large:: --skip eight_tori)
    fits=(--skip whole_fit --skip a_quadratic_fit --skip an_indefinite_start)
    for tool in memcheck synccheck initcheck racecheck; do
        loops=()
        [ $tool != racecheck ] || loops=(--skip iterative::)
        under $tool schur-device "$@" "${apart[@]}" "${loops[@]}"
        case $tool in
            synccheck | racecheck) loops=("${fits[@]}") ;;
        esac
        under $tool sae-device "$@" "${apart[@]}" "${loops[@]}"
    done
fi
exit $failed
"#;

/// Tests, or packs.
///
/// # Errors
/// The build or a test fails.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Outcome, Failure> {
    if let Some(from) = &options.adopt {
        return crate::bench_gpu::adopt(root, from);
    }
    let crates = crates(root)?;
    let mut command = shell::cargo(root);
    command.args(["test", "--locked", "--test", TARGET]);
    for name in &crates {
        command.args(["--package", &format!("broadhead-{name}")]);
    }
    let Some(folder) = &options.pack else {
        shell::run(command.arg("--").args(&options.rest))?;
        return Ok(match device_is_here() {
            true => Outcome::Passed,
            false => Outcome::NotRun("the tests that need a device were skipped".to_owned()),
        });
    };
    let json = ["--no-run", "--message-format", "json-render-diagnostics"];
    let messages = shell::output(command.args(json))?;
    let mut pack = Pack::begin(root, folder)?;
    let mut names = Vec::new();
    for (name, program) in programs(&messages) {
        let name = format!("{}-device", name.trim_start_matches("broadhead-"));
        pack.program(&program, &name)?;
        names.push(name);
    }
    if names.len() != crates.len() {
        return Err(Failure::Format {
            path: root.to_path_buf(),
            message: format!("{crates:?} have device tests, cargo built {names:?}"),
        });
    }
    let (commit, dirty) = (pack.commit(), pack.dirty());
    let head = format!(
        "#!/bin/bash\nexport BROADHEAD_COMMIT={commit} BROADHEAD_DIRTY={dirty}\nprograms='{}'",
        names.join(" ")
    );
    pack.finish(&format!("{head}{SCRIPT}"))?;
    Ok(Outcome::Passed)
}

/// Folders of the crates that have device tests, from the lowest layer up where names say so.
fn crates(root: &Path) -> Result<Vec<String>, Failure> {
    let folder = root.join("crates");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(Failure::file(&folder))? {
        let path = entry.map_err(Failure::file(&folder))?.path();
        if path.join("tests").join(TARGET).join("main.rs").is_file()
            && let Some(name) = path.file_name()
        {
            found.push(name.to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// The package and the executable of every test target that cargo's messages name.
fn programs(messages: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let (target, path) = (&message["target"], message["executable"].as_str());
        if message["reason"] == "compiler-artifact"
            && target["name"] == TARGET
            && let Some(path) = path
            && let Some(package) = package(&message)
        {
            found.push((package, PathBuf::from(path)));
        }
    }
    found.sort();
    found
}

/// The package's folder name: the one above the target's tests.
fn package(message: &serde_json::Value) -> Option<String> {
    let source = Path::new(message["target"]["src_path"].as_str()?);
    let folder = source.ancestors().nth(3)?;
    Some(folder.file_name()?.to_string_lossy().into_owned())
}

/// Whether the driver's devices are visible: the tests themselves say why not.
fn device_is_here() -> bool {
    Path::new("/dev/nvidiactl").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargo_s_messages() {
        let artifact = |name: &str, of: &str, executable: &str| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "target": { "name": name, "src_path": format!("/r/crates/{of}/tests/device/main.rs") },
                "executable": executable,
            })
            .to_string()
        };
        let messages = [
            artifact("device", "schur", "/t/device-1"),
            artifact("laws", "schur", "/t/laws-1"),
            artifact("device", "device", "/t/device-2"),
            "no JSON".to_owned(),
        ];
        let found = programs(&messages.join("\n"));
        let wanted = [("device", "/t/device-2"), ("schur", "/t/device-1")];
        assert_eq!(found, wanted.map(|(n, p)| (n.to_owned(), PathBuf::from(p))));
    }
}
