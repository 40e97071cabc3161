//! Peers start without what an environment says of their libraries, and one with old kernels ends the
//! run by name. The interpreter here is a shell script that answers as a peer does.

use std::path::Path;
use std::process::{Command, Output};

const SUITE: &str = "
suite = 's'
peers = ['fake']
eliminations = ['rows']
phases = ['factor']
[[cells]]
name = 'one'
case = 'arrow'
shape = { rows = 3, dim = 2, border = 5 }
";

/// Runs the suite with an interpreter that says `kernels` and, beside it, what it finds in its
/// environment.
fn run(kernels: &str) -> Output {
    let root = tempfile::tempdir().unwrap();
    let cells = root.path().join("benches/cells");
    std::fs::create_dir_all(&cells).unwrap();
    std::fs::write(cells.join("s.toml"), SUITE).unwrap();
    let interpreter = root.path().join("python");
    let found =
        "${OPENBLAS_CORETYPE-}${OPENBLAS_L2_SIZE-}${OPENBLAS_NUM_THREADS-}${OMP_NUM_THREADS-}";
    let script = format!(
        "#!/bin/sh\nread line\n\
         echo '{{\"libraries\":{{\"openblas of numpy\":\"0.3 ({kernels})\",\"environment\":\"['\"{found}\"']\"}}}}'\n\
         while read line; do echo '{{\"log_determinant\":0,\"componentwise_error\":0,\"seconds\":1}}'; done\n"
    );
    write_program(&interpreter, &script);
    Command::new(env!("CARGO_BIN_EXE_broadhead-benches"))
        .arg("--root")
        .arg(root.path())
        .args(["run", "s", "--seconds", "0.001", "--python"])
        .arg(&interpreter)
        .envs([
            ("OPENBLAS_CORETYPE", "Haswell"),
            ("OPENBLAS_L2_SIZE", "262144"),
            ("OPENBLAS_NUM_THREADS", "1"),
            ("OMP_NUM_THREADS", "1"),
        ])
        .output()
        .map(|output| {
            let path = root.path().join("benches/records/s.jsonl");
            let records = std::fs::read_to_string(path).unwrap_or_default();
            Output {
                stdout: records.into_bytes(),
                ..output
            }
        })
        .unwrap()
}

#[cfg(unix)]
fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(unix)]
#[test]
fn a_peer_starts_without_what_the_environment_says_of_its_libraries() {
    let output = run("SapphireRapids");
    let records = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        records.contains("\"environment\":\"[]\""),
        "{records} {said}"
    );
}

#[cfg(all(unix, target_arch = "x86_64"))]
#[test]
fn a_run_whose_peer_has_old_kernels_ends_by_name_and_writes_nothing() {
    // On a processor without AVX no kernels are too old.
    if !std::is_x86_feature_detected!("avx") {
        return;
    }
    let output = run("Nehalem");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in ["the peer fake", "openblas of numpy", "Nehalem", "AVX"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(output.stdout.is_empty());
}
