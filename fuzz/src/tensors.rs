//! `.safetensors` files and models from their parts, some of the parts wrong.

use crate::mutate;
use crate::random::Random;

const KINDS: &[(&str, usize)] = &[
    ("F64", 8),
    ("F32", 4),
    ("F16", 2),
    ("BF16", 2),
    ("I64", 8),
    ("U32", 4),
    ("I16", 2),
    ("U8", 1),
    ("BOOL", 1),
    ("F8_E4M3", 1),
];

/// A file of one to three tensors.
pub(crate) fn build(random: &mut Random, faults: bool) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for index in 0..1 + random.below(3) {
        let (kind, width) = *random.pick(KINDS);
        let axes = *random.pick(&[0, 1, 2, 2, 2, 3]);
        let shape: Vec<usize> = (0..axes).map(|_| random.below(5)).collect();
        let count = width * shape.iter().product::<usize>();
        let first = data.len();
        let more = random.bytes(count);
        data.extend(more);
        entries.push(entry(
            &format!("t{index}"),
            kind,
            &shape,
            [first, data.len()],
        ));
    }
    if random.one_in(4) {
        entries.push("\"__metadata__\":{\"k\":\"v\"}".to_owned());
    }
    let text = format!("{{{}}}", entries.join(","));
    file(text, data, random, faults)
}

/// A mask of `shape`.
pub(crate) fn mask(random: &mut Random, shape: [usize; 2]) -> Vec<u8> {
    let (kind, width) = *random.pick(&[("BOOL", 1), ("U8", 1), ("I8", 1)]);
    let data: Vec<u8> = (0..width * shape[0] * shape[1])
        .map(|_| random.below(3) as u8)
        .collect();
    let text = format!("{{{}}}", entry("gates", kind, &shape, [0, data.len()]));
    let faults = random.one_in(3);
    file(text, data, random, faults)
}

/// A model: its dictionary as JSON, and a decoder that may fit to it.
pub(crate) fn model(random: &mut Random, faults: bool) -> Vec<u8> {
    const ATOMS: &[(&str, &str, usize)] = &[
        ("circle", "harmonics:1", 2),
        ("circle", "harmonics:3", 6),
        ("torus", "harmonics:1", 8),
        ("cylinder", "harmonics:2", 9),
        ("sphere", "spherical:1", 3),
        ("sphere", "spherical:2", 8),
        ("euclidean:1", "monomials:1", 1),
        ("euclidean:2", "monomials:2", 5),
    ];
    let mut features = 1;
    let mut atoms = Vec::new();
    for _ in 0..1 + random.below(3) {
        let (topology, basis, count) = *random.pick(ATOMS);
        features += count;
        atoms.push(format!(
            "{{\"topology\":\"{topology}\",\"basis\":\"{basis}\"}}"
        ));
    }
    let gates = random.pick(&["all", "top-k:1", "top-k:0", "g.npy", "\\u001b[2J", ""]);
    let mut note = format!(
        "{{\"atoms\":[{}],\"gates\":\"{gates}\",\"kappa\":0.5}}",
        atoms.join(",")
    );
    while faults && !random.one_in(3) {
        let mut bytes = note.into_bytes();
        match random.below(6) {
            0 | 1 => mutate::number(&mut bytes, random),
            2 => {
                let depth = *random.pick(&[1, 4, 127, 128, 400]);
                let at = random.below(bytes.len() + 1);
                bytes.splice(at..at, vec![b'['; depth]);
            }
            3 => {
                let at = random.below(bytes.len());
                let end = at + random.below(1 + (bytes.len() - at).min(12));
                bytes.drain(at..end);
            }
            4 => {
                let at = random.below(bytes.len() + 1);
                let words = [
                    "null",
                    "\u{feff}",
                    "1e999",
                    "-0",
                    "\"a\":1,",
                    "\u{202e}",
                    ":99999999",
                ];
                let word = random.pick(&words);
                bytes.splice(at..at, word.bytes());
            }
            _ => mutate::once(&mut bytes, &[], random),
        }
        note = String::from_utf8_lossy(&bytes).into_owned();
        if note.is_empty() {
            note.push('{');
        }
    }
    let columns = random.below(3);
    let rows = match random.below(6) {
        0 if faults => random.below(9),
        _ => features,
    };
    let data: Vec<u8> = (0..rows * columns)
        .flat_map(|index| (index as f64 * 0.3).to_le_bytes())
        .collect();
    let text = format!(
        "{{{},\"__metadata__\":{{\"dictionary\":{}}}}}",
        entry("decoder", "F64", &[rows, columns], [0, data.len()]),
        serde_json::Value::from(note)
    );
    let faults = faults && random.one_in(3);
    file(text, data, random, faults)
}

fn entry(name: &str, kind: &str, shape: &[usize], span: [usize; 2]) -> String {
    format!("\"{name}\":{{\"dtype\":\"{kind}\",\"shape\":{shape:?},\"data_offsets\":{span:?}}}")
}

fn file(text: String, mut data: Vec<u8>, random: &mut Random, faults: bool) -> Vec<u8> {
    let mut header = text.into_bytes();
    let mut shift = 0;
    while faults && !random.one_in(3) {
        match random.below(8) {
            0..=2 => mutate::number(&mut header, random),
            3 => {
                let kind = random.pick(&["F4", "C64", "I128", "", "\\u0000", "F8_E5M2", "U16"]);
                if let Some(at) = header.windows(8).position(|window| window == b"\"dtype\":") {
                    let end = (at + 12).min(header.len());
                    header.splice(at + 8..end, format!("\"{kind}\"").bytes());
                }
            }
            4 => mutate::once(&mut header, &[], random),
            5 => shift = random.turn(header.len()) as i64,
            6 => {
                let depth = *random.pick(&[1, 100, 127, 128, 129, 500]);
                let at = random.below(header.len() + 1);
                header.splice(at..at, vec![*random.pick(b"[{"); depth]);
            }
            _ => {
                let length = random.below(data.len() + 9);
                data.resize(length, 1);
            }
        }
    }
    if random.one_in(2) {
        header.resize(header.len().next_multiple_of(8), b' ');
    }
    let length = (header.len() as i64).wrapping_add(shift) as u64;
    [&length.to_le_bytes()[..], &header, &data].concat()
}
