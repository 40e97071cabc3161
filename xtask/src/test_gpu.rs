//! The device tests: here, or as a pack for a machine with a device.
//!
//! Every crate with a folder `tests/device` has them. They are listed on every machine; without a
//! device each is skipped with its reason in its name.

use crate::pack::Pack;
use crate::shell::{self, Failure, Outcome};
use std::path::{Path, PathBuf};
use xshell::cmd;

/// What `test-gpu` runs or packs.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Makes a folder that runs on a machine without Rust, instead of running here.
    #[arg(long, value_name = "DIR")]
    pack: Option<PathBuf>,
    /// Checks the evidence that such a folder brought back, and puts it into the folder of its device
    /// under benches/records.
    #[arg(long, value_name = "OUT", conflicts_with = "pack")]
    adopt: Option<PathBuf>,
    /// With --adopt, keeps it at its commit, beside what the device does now.
    #[arg(long, requires = "adopt")]
    at_commit: bool,
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
#   ./run.sh OUT [--sanitize | --under TOOL[,TOOL]] [FILTER]
#
# OUT/device-tests.jsonl holds their records and OUT/tests.txt what was printed. With --sanitize the
# tests of the runtime, of the solver (the laws among them) and of the loop run again under the tools of
# compute-sanitizer: memcheck, synccheck, initcheck and racecheck, in that order. With --under they
# run under the tools named and not without: the same in pieces, with one OUT, where a machine is lent
# for minutes. First each tool must find a defect that was planted for it; but synccheck has none,
# since a barrier that does not meet may hang. A law takes three random systems instead of tens, and a
# few of its lists of cases. Racecheck, under which work takes many times as long, sees the
# kernels of these crates alone, no library's; tests take fewer rows there, a law one random system.
#
# Left out under every tool:
#   planted::               but where the tool must find them
#   fits::                  fits of a model, which are more of the same kernels
#   after_every_failure, after_a_bad_kernel, two_processes, a_hidden_library, out_of_memory
#                           children of the tests, and what breaks on purpose
#   large::, eight_tori, lines_longer_than
#                           which only take long
#   evidence::              the tools and CUPTI's activity records share one interface of the driver
#   ceilings::, lifetime::ten_thousand, lifetime::a_stream_s_first
#                           which measure times and the bytes of the process: the tool's too
#   compiling::             which launches nothing
# Under memcheck one of the runtime's tests, a loop of a graph that holds the library's Cholesky
# factorization, runs in a process of its own: after the others memcheck says of that loop's first write
# by the library's own kernel, which sets info, that it is out of bounds and, of the same address, that
# it is the first inside its allocation. It is left out where there is a FILTER.
# Under racecheck also the laws that launch only what other tests launch; those stay that factor and
# solve for one gradient, for many, and beside a factor without ridge.
#
# Two tools cannot follow graphs with loops. Racecheck ends in a fault of its own in them, and in the
# graph of a whole fit, a branch in a loop, synccheck calls every thread of the first block of its
# first kernel divergent at the first barrier, which all of them reach, and does not of the same kernel
# elsewhere. Such graphs are left out there: under racecheck all that have a loop (conjugate gradients
# are one), under synccheck those of whole fits and of the runtime's tests. Of what is launched in them
# alone, the kernels of conjugate gradients are driven by the host in tests of their own (descent::,
# passes::); of those between the iterates of a whole fit lm_ridge, lm_factored and lm_ready are one
# thread, and lm_settle is lm_judge, which is in every iterate, and what thread 0 then writes.
# OUT/sanitizer.jsonl holds what each tool found.
# Exit: 0 all passed, 1 otherwise.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
usage='usage: run.sh OUT [--sanitize | --under TOOL[,TOOL]] [FILTER]'
out=${1:?$usage}
shift
mkdir -p "$out" || exit 1
plain=1
tools=
case ${1:-} in
    --sanitize)
        tools='memcheck synccheck initcheck racecheck'
        shift
        ;;
    --under)
        plain=
        tools=${2:?$usage}
        tools=${tools//,/ }
        [ -n "${tools// /}" ] || { echo "$usage" >&2; exit 1; }
        shift 2
        ;;
esac
for tool in $tools; do
    case $tool in
        memcheck | synccheck | initcheck | racecheck) ;;
        *)
            echo "no tool '$tool'; $usage" >&2
            exit 1
            ;;
    esac
done
export BROADHEAD_REQUIRE_DEVICE=1
failed=0
if [ -n "$plain" ]; then
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
fi
export BROADHEAD_SANITIZE_SECONDS=${SANITIZE_SECONDS:-600}
under() {
    tool=$1 program=$2 began=$SECONDS
    shift 2
    echo "== $tool, $program $*"
    BROADHEAD_RECORDS="$out/sanitizer.jsonl" BROADHEAD_SANITIZE=$tool "$here/$program" "$@" \
        >>"$out/sanitizer.txt" 2>&1 || { failed=1; echo "not so"; tail -5 "$out/sanitizer.txt"; }
    echo "   $((SECONDS - began)) s"
}
skip() { printf -- '--skip %s ' "$@"; }
for tool in $tools; do
    device=(after_a_bad_kernel two_processes a_hidden_library out_of_memory evidence:: ceilings::
        lifetime::ten_thousand lifetime::a_stream_s_first compiling::)
    sae=(fits::)
    schur=(planted:: after_every_failure large:: eight_tori lines_longer_than)
    planted=()
    alone=()
    case $tool in
        memcheck)
            planted=(planted::memcheck)
            alone=(a_loop_holds_library_calls)
            ;;
        initcheck) planted=(planted::initcheck) ;;
        racecheck)
            planted=(planted::racecheck_first planted::racecheck_last)
            schur+=(iterative:: conjugate_gradients:: answers_hard_systems answers_real_looking
                scaling_the_data permuting_rows thread_counts any_layout_of_the_same
                upper_triangles refreshed_and_fresh the_reported_bump quadratic_models
                condition_estimates kappa_is_below)
            ;;
    esac
    case $tool in
        synccheck | racecheck)
            device+=(graphs::a_loop graphs::loops graphs::a_branch)
            sae+=(whole_fit a_quadratic_fit)
            ;;
    esac
    for defect in "${planted[@]}"; do
        under $tool schur-device "$defect"
    done
    if [ $tool = racecheck ] && [ $# = 0 ]; then
        # In two, so that each has its time.
        under $tool schur-device --skip structured:: $(skip "${schur[@]}")
        under $tool schur-device structured:: $(skip "${schur[@]}")
    else
        under $tool schur-device "$@" $(skip "${schur[@]}")
    fi
    under $tool sae-device "$@" $(skip "${sae[@]}")
    under $tool device-device "$@" $(skip "${device[@]}" "${alone[@]}")
    [ $# != 0 ] || for test in "${alone[@]}"; do
        under $tool device-device "$test"
    done
done
exit $failed
"#;

/// Tests, or packs.
///
/// # Errors
/// The build or a test fails.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Outcome, Failure> {
    if let Some(from) = &options.adopt {
        return crate::bench_gpu::adopt(root, from, options.at_commit);
    }
    let crates = crates(root)?;
    let packages = crates
        .iter()
        .map(|name| format!("--package=broadhead-{name}"));
    let packages: Vec<String> = packages.collect();
    let (sh, cargo) = shell::at(root)?;
    let Some(folder) = &options.pack else {
        let rest = &options.rest;
        cmd!(
            sh,
            "{cargo} test --locked --test {TARGET} {packages...} -- {rest...}"
        )
        .run()?;
        return Ok(match device_is_here() {
            true => Outcome::Passed,
            false => Outcome::NotRun("the tests that need a device were skipped".to_owned()),
        });
    };
    let json = ["--no-run", "--message-format", "json-render-diagnostics"];
    let messages = cmd!(
        sh,
        "{cargo} test --locked --test {TARGET} {packages...} {json...}"
    )
    .read()?;
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
    shell::some(&found, "crate with tests/device", root)?;
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
