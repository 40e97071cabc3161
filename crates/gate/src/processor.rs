//! The processor, as the system describes it.

/// The model by the system's own words; where it only says that there is one, family and model numbers
/// tell it apart.
pub fn model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model_of(&text).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The model in the text of `/proc/cpuinfo`.
fn model_of(text: &str) -> Option<String> {
    let field = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let mut named = lines.filter(|(key, _)| key.trim() == name);
        named.next().map(|(_, value)| value.trim().to_owned())
    };
    let name = field("model name");
    let numbers = ["cpu family", "model", "stepping"].map(|key| field(key).unwrap_or_default());
    if numbers.iter().all(String::is_empty) {
        return name;
    }
    Some(format!(
        "{} (family {}, model {}, stepping {})",
        name.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        numbers[0],
        numbers[1],
        numbers[2]
    ))
}

/// Processors that the system lets this program use.
pub fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Operating system and architecture.
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Instruction-set extensions beyond the baseline that the processor offers and the libraries use.
#[cfg(target_arch = "x86_64")]
pub fn features() -> Vec<&'static str> {
    let offered = [
        ("avx", std::is_x86_feature_detected!("avx")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512vl", std::is_x86_feature_detected!("avx512vl")),
        ("avx512bf16", std::is_x86_feature_detected!("avx512bf16")),
    ];
    let there = offered.into_iter().filter(|(_, there)| *there);
    there.map(|(name, _)| name).collect()
}

/// Instruction-set extensions beyond the baseline that the processor offers and the libraries use.
#[cfg(not(target_arch = "x86_64"))]
pub fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_its_numbers_where_the_system_says_them() {
        let text = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: A CPU\n\
            stepping\t: 2\n\nprocessor\t: 1\nmodel name\t: Another\n";
        let found = model_of(text).unwrap();
        assert_eq!(found, "A CPU (family 25, model 1, stepping 2)");
        assert_eq!(model_of("model name : Only this\n").unwrap(), "Only this");
        assert_eq!(model_of(""), None);
        assert!(!model().is_empty() && count() > 0);
    }
}
