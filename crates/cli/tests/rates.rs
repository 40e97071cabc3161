//! The rates that plans use: measured by `doctor --measure`, kept on disk, said in every summary, and never
//! used where they do not hold.

mod common;

use common::{Ran, broadhead, finish, names, sample, write_npz};
use ndarray::{Array1, Array2, Array3};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A folder with a small system, and a cache of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (n, d, k) = (12, 2, 5);
        let wave = |x: usize| (x as f64 * 0.754_877_666).fract() - 0.5;
        let diagonal = |a: usize, b: usize| if a == b { 40.0 } else { 0.0 };
        write_npz(&folder.path().join("s.npz"), |npz| {
            let row_hessian = Array3::from_shape_fn((n, d, d), |(_, a, b)| diagonal(a, b));
            let row_cross =
                Array3::from_shape_fn((n, d, k), |(i, a, c)| wave(17 * i + 3 * a + 5 * c));
            let row_gradient = Array2::from_shape_fn((n, d), |(i, a)| 1.0 + wave(11 * i + a));
            let border_hessian = Array2::from_shape_fn((k, k), |(a, b)| diagonal(a, b));
            npz.add_array("row_hessian", &row_hessian).unwrap();
            npz.add_array("row_cross", &row_cross).unwrap();
            npz.add_array("row_gradient", &row_gradient).unwrap();
            npz.add_array("border_hessian", &border_hessian).unwrap();
            npz.add_array("border_gradient", &Array1::from_elem(k, 2.0))
                .unwrap();
        });
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// The program with this cache, on two threads.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.on_threads("2", arguments)
    }

    fn on_threads(&self, threads: &str, arguments: &[&str]) -> Ran {
        let mut command = broadhead();
        command.env("BROADHEAD_CACHE_DIR", self.cache());
        command.env("RAYON_NUM_THREADS", threads);
        command.current_dir(self.folder.path());
        finish(command.args(arguments))
    }

    /// The origin of the processor's rates in the summary of a solve.
    fn solve(&self, more: &[&str]) -> Value {
        let words = ["solve", "s.npz", "-o", "d.npz", "--device", "off", "--json"];
        let ran = self.run(&[&words, more].concat());
        ran.done().json()["rates"]["host"].clone()
    }

    /// The one file of the processor's rates.
    fn record(&self) -> PathBuf {
        let names = names(&self.cache());
        let mut records = names
            .iter()
            .filter(|name| name.starts_with("host-ceilings."));
        let record = records.next().expect("a record");
        assert_eq!(records.next(), None, "{names:?}");
        self.cache().join(record)
    }
}

#[test]
fn rates_that_doctor_measured_are_kept_and_every_plan_uses_and_names_them() {
    let place = Place::new();
    let before = place.solve(&[]);
    assert_eq!(before["origin"], "shipped", "{before}");
    assert_eq!(before["reason"], "none measured here", "{before}");
    assert_eq!(before["ceilings"]["together"]["gemm_flops"], 1e11);

    let doctor = place.run(&["doctor", "--measure", "--json"]);
    let doctor = doctor.done().json();
    let measured = &doctor["rates"]["host"];
    assert_eq!(measured["origin"], "measured", "{doctor}");
    assert!(measured["taken"].as_u64().unwrap() > 1_600_000_000);
    assert_eq!(measured["digest"].as_str().unwrap().len(), 64);
    assert_ne!(measured["ceilings"], before["ceilings"]);

    // Another process, the same numbers.
    assert_eq!(&place.solve(&[]), measured);
    let week = sample("weekdays_layer1.npy");
    let week = week.to_str().unwrap();
    let fit = ["fit", week, "-o", "f", "--starts", "1", "--device", "off"];
    let fit = place.run(&[&fit[..], &["--json"]].concat());
    let fit = fit.done().json();
    assert_eq!(&fit["rates"]["host"], measured);
    assert!(fit["rates"]["device"].is_null(), "{fit}");

    let words = place.run(&["solve", "s.npz", "-o", "d.npz", "--device", "off"]);
    let digest = &measured["digest"].as_str().unwrap()[..12];
    let line = words
        .done()
        .stdout
        .lines()
        .find(|l| l.trim_start().starts_with("rates"));
    let line = line.expect("a line of rates");
    assert!(
        line.contains("measured here") && line.contains(digest),
        "{line}"
    );

    let asked = place.solve(&["--rates", "shipped"]);
    assert_eq!(asked["origin"], "shipped");
    assert_eq!(asked["reason"], "--rates shipped");
    assert_eq!(asked["ceilings"], before["ceilings"]);
}

#[test]
fn rates_that_do_not_hold_are_not_used_and_the_summary_says_why() {
    let place = Place::new();
    place.run(&["doctor", "--measure"]).done();
    let record = place.record();
    let whole = std::fs::read_to_string(&record).unwrap();
    let reason = |rates: &Value| {
        assert_eq!(rates["origin"], "shipped", "{rates}");
        rates["reason"].as_str().unwrap().to_owned()
    };

    let words = ["solve", "s.npz", "-o", "d.npz", "--device", "off", "--json"];
    let other = place.on_threads("1", &words).done().json();
    let why = reason(&other["rates"]["host"]);
    assert!(why.contains("number of threads"), "{why}");

    for harmed in [
        whole[..whole.len() / 2].to_owned(),
        whole.replacen("\"gemm_flops\":", "\"gemm_flops\":1", 1),
        String::new(),
        "null".to_owned(),
    ] {
        std::fs::write(&record, harmed).unwrap();
        let why = reason(&place.solve(&[]));
        assert!(why.contains("damaged"), "{why}");
    }
    std::fs::write(&record, [0xff, 0xfe, 0]).unwrap();
    let why = reason(&place.solve(&[]));
    assert!(why.contains("damaged"), "{why}");

    // Measuring again mends it.
    place.run(&["doctor", "--measure"]).done();
    assert_eq!(place.solve(&[])["origin"], "measured");
}

#[test]
fn a_folder_that_does_not_take_rates_is_a_failure_that_names_it() {
    let place = Place::new();
    std::fs::write(place.cache(), "a file").unwrap();
    let ran = place.run(&["doctor", "--measure"]);
    ran.failed(1, &["the rates cannot be kept"]);
    place.run(&["doctor"]).done();
}

#[test]
fn the_pins_of_a_summary_repeat_an_auto_run() {
    let place = Place::new();
    let solve = |output: &str, more: &[&str]| {
        let words = ["solve", "s.npz", "-o", output, "--json"];
        place.run(&[&words[..], more].concat()).done().json()
    };
    let auto = solve("auto.npz", &["--device", "off"]);
    assert_eq!(auto["pinned"], false);
    let pins = auto["pins"]["options"].as_str().unwrap();
    let words: Vec<&str> = pins.split(' ').collect();
    let pinned = solve("pinned.npz", &words);
    assert_eq!(pinned["pinned"], true);
    assert_eq!(pinned["elimination"], auto["elimination"]);
    let bytes = |name| std::fs::read(place.path(name)).unwrap();
    assert!(bytes("auto.npz") == bytes("pinned.npz"), "{pins}");
    let words = place.run(&["solve", "s.npz", "-o", "d.npz", "--device", "off"]);
    assert!(words.done().stdout.contains(pins), "{words:?}");

    let week = sample("weekdays_layer1.npy");
    let fit = |output: &str, more: &[&str]| {
        let words = [
            "fit",
            week.to_str().unwrap(),
            "-o",
            output,
            "--starts",
            "2",
            "--json",
        ];
        place.run(&[&words[..], more].concat()).done().json()
    };
    let auto = fit("auto", &["--device", "off"]);
    let pins = auto["pins"]["options"].as_str().unwrap();
    let pinned = fit("pinned", &pins.split(' ').collect::<Vec<_>>());
    assert_eq!(pinned["elimination"], auto["elimination"]);
    let model =
        |folder: &str| std::fs::read(Path::new(&place.path(folder)).join("coordinates.npy"));
    assert!(model("auto").unwrap() == model("pinned").unwrap(), "{pins}");
}
