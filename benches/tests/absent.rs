//! Without a device the program lists every cell with the reason and exits 3, on any machine: what
//! the loader finds first under the driver's names here is no library.

use std::path::Path;
use std::process::Command;

/// The names under which the driver is looked for, as far as a machine may have them.
const NAMES: [&str; 8] = [
    "libcuda.so",
    "libcuda.so.1",
    "libcuda.so.9",
    "libcuda.so.10",
    "libcuda.so.11",
    "libcuda.so.12",
    "libcuda.so.13",
    "libnvcuda.so",
];

#[test]
fn every_cell_is_not_measured_by_name_and_the_exit_is_3() {
    let folder = tempfile::tempdir().unwrap();
    let hidden = folder.path().join("hidden");
    std::fs::create_dir(&hidden).unwrap();
    for name in NAMES {
        std::fs::write(hidden.join(name), "no library").unwrap();
    }
    let out = folder.path().join("out");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO_BIN_EXE_broadhead-benches"))
        .arg("--root")
        .arg(&root)
        .args(["gpu", "gpu", "--out"])
        .arg(&out)
        .env("LD_LIBRARY_PATH", &hidden)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(!out.exists(), "nothing is written");
    let cells = std::fs::read_to_string(root.join("benches/cells/gpu.toml")).unwrap();
    for name in cells
        .lines()
        .filter_map(|line| line.strip_prefix("name = "))
    {
        let name = name.trim_matches('"');
        let listed = text
            .lines()
            .filter(|line| line.starts_with("not measured: gpu: ") && line.contains(name))
            .collect::<Vec<_>>();
        // The requirements have names too.
        let is_cell = cells.contains(&format!("[[cells]]\nname = \"{name}\""));
        assert_eq!(is_cell, !listed.is_empty(), "{name} in {text}");
        assert!(
            listed.iter().all(|line| line.contains("absent: driver ")),
            "{listed:?}"
        );
    }
}
