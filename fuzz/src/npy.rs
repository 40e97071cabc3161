//! `.npy` files from their parts, some of the parts wrong.

use crate::mutate;
use crate::random::Random;

const DESCRIPTORS: &[(&str, usize)] = &[
    ("'<f8'", 8),
    ("'>f8'", 8),
    ("'<f4'", 4),
    ("'>f4'", 4),
    ("'<f2'", 2),
    ("'>f2'", 2),
    ("'<V2'", 2),
    ("'|V2'", 2),
    ("'bfloat16'", 2),
    ("'|b1'", 1),
    ("'|i1'", 1),
    ("'<i2'", 2),
    ("'>i4'", 4),
    ("'<i8'", 8),
    ("'|u1'", 1),
    ("'<u2'", 2),
    ("'>u4'", 4),
    ("'<u8'", 8),
];

const OTHERS: &[&str] = &[
    "'<f16'",
    "'<c8'",
    "'|O'",
    "'<U3'",
    "'|S0'",
    "'<M8[ns]'",
    "''",
    "'é'",
    "'<'",
    "[('a', '<f4')]",
    "[('a', [('b', '<f4', (2,))])]",
    "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
    "[",
    "]",
    "None",
    "('<f4', (2,))",
    "'\\'<f8'",
    "{'a': 1}",
];

/// A whole `.npy`, right in two of three cases where `faults` allows none else.
pub(crate) fn build(random: &mut Random, faults: bool) -> Vec<u8> {
    let (descriptor, width) = *random.pick(DESCRIPTORS);
    let axes = *random.pick(&[0, 1, 1, 2, 2, 2, 2, 3, 5]);
    let shape: Vec<usize> = (0..axes)
        .map(|_| *random.pick(&[0, 1, 2, 2, 3, 3, 4, 5, 7]))
        .collect();
    let mut count = width * shape.iter().product::<usize>();
    count = count.min(1 << 14);
    let data = match random.below(3) {
        // Small numbers, so that masks and counts are right now and then.
        0 => (0..count).map(|_| u8::from(random.one_in(3))).collect(),
        1 => vec![0; count],
        _ => random.bytes(count),
    };
    with(random, descriptor, &shape, &data, faults)
}

/// A `.npy` of `shape` and small whole numbers, for masks and counts.
pub(crate) fn mask(random: &mut Random, shape: &[usize]) -> Vec<u8> {
    let (descriptor, width) = *random.pick(DESCRIPTORS);
    let most = *random.pick(&[1, 2, 2, 3, 4]);
    let mut data = Vec::new();
    for _ in 0..shape.iter().product() {
        let number = random.below(most);
        let bytes = match (descriptor, width) {
            ("'<f8'", _) => (number as f64).to_le_bytes().to_vec(),
            ("'>f8'", _) => (number as f64).to_be_bytes().to_vec(),
            ("'<f4'", _) => (number as f32).to_le_bytes().to_vec(),
            ("'>f4'", _) => (number as f32).to_be_bytes().to_vec(),
            (other, width) if other.starts_with("'>") => number.to_be_bytes()[8 - width..].to_vec(),
            (_, width) => number.to_le_bytes()[..width].to_vec(),
        };
        data.extend(bytes);
    }
    let faults = random.one_in(3);
    with(random, descriptor, shape, &data, faults)
}

fn with(
    random: &mut Random,
    descriptor: &str,
    shape: &[usize],
    data: &[u8],
    faults: bool,
) -> Vec<u8> {
    let mut extents: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let mut descriptor = descriptor.to_owned();
    let mut order = if random.one_in(3) { "True" } else { "False" }.to_owned();
    let mut version = *random.pick(&[1, 1, 1, 2, 3]);
    let mut keys = ["descr", "fortran_order", "shape"].map(str::to_owned);
    let mut tail = String::new();
    let mut shift = 0i64;
    let mut data = data.to_vec();
    while faults && !random.one_in(3) {
        match random.below(10) {
            0 | 1 if !extents.is_empty() => {
                let axis = random.below(extents.len());
                extents[axis] = mutate::word(random, data.len());
            }
            0 | 1 => extents = vec![mutate::word(random, data.len())],
            2 => {
                let more = *random.pick(&[1, 2, 31, 62, 63, 64, 65, 300]);
                let one = random.pick(&["1", "0", "2", "4294967296"]);
                extents.extend(vec![(*one).to_owned(); more]);
            }
            3 => descriptor = (*random.pick(OTHERS)).to_owned(),
            4 => order = (*random.pick(&["true", "0", "None", "", "Truee", "False,"])).to_owned(),
            5 => version = *random.pick(&[0, 1, 2, 3, 4, 255]),
            6 => {
                let key = random.below(3);
                keys[key] = (*random.pick(&["descr", "shape", "x", "", "'", "\\"])).to_owned();
            }
            7 => {
                tail = (*random.pick(&["x", "\0", "}", "# a", "{}", ", 'shape': (1,)"])).to_owned()
            }
            8 => shift = random.turn(0) as i64,
            _ => {
                let length = random.below(data.len() + 9);
                data.resize(length, 1);
            }
        }
    }
    let comma = if extents.len() == 1 { "," } else { "" };
    let [first, second, third] = keys;
    let mut text = format!(
        "{{'{first}': {descriptor}, '{second}': {order}, '{third}': ({}{comma}), }}{tail}",
        extents.join(", ")
    );
    if random.one_in(2) {
        let pad = (64 - (text.len() + 11) % 64) % 64;
        text += &" ".repeat(pad);
    }
    text.push('\n');
    let declared = (text.len() as i64).wrapping_add(shift);
    let mut file = b"\x93NUMPY".to_vec();
    file.extend([version, 0]);
    if version == 1 {
        file.extend((declared as u16).to_le_bytes());
    } else {
        file.extend((declared as u32).to_le_bytes());
    }
    file.extend(text.as_bytes());
    file.extend(data);
    file
}
