//! Records come back as written, and every planted lie is refused by its name.

use super::*;
use crate::receipt::DeviceReceipt;
use broadhead_device::Absence;
use broadhead_device::nvml::ClockReasons;
use broadhead_device::witness::Copies;

pub(crate) fn host() -> Record {
    Record {
        schema: SCHEMA,
        cell: CellId {
            suite: "s".into(),
            place: Place::Host,
            name: "n".into(),
            case: CaseKind::Arrow,
            shape: ShapeFields {
                rows: 3,
                dim: Some(2),
                border: Some(5),
                ..Default::default()
            },
            seed: 1,
            log_determinant: true,
            elimination: "rows".into(),
            phase: Phase::Factor,
            threads: 2,
            window: None,
        },
        outcome: Outcome::Measured(Measured {
            samples: vec![0.5, 0.25],
            timer: Timer::HostWallClock,
            units: 1,
            rest: 0.0,
            l2: None,
            floor_bytes: None,
            frame: None,
            execution_path: Some(ExecutionPath::Cpu),
            elimination: Some("rows".into()),
            ledger: Some(LedgerSnapshot::default()),
            witness: None,
            parity: Parity {
                componentwise_error: 1e-16,
                componentwise_bound: 1e-13,
                log_determinant: Some(2.0),
                against: Some(Against {
                    source: "reference".into(),
                    log_determinant: 2.0,
                    bound: 1e-10,
                }),
            },
        }),
        receipt: Receipt::sample(),
    }
}

/// A device's record with its device, ledger and witness.
pub(crate) fn device() -> Record {
    let mut record = host();
    record.cell.place = Place::Device;
    record.cell.elimination = "rows/factor".into();
    record.receipt.device = Some(DeviceReceipt::sample());
    let mut ledger = LedgerSnapshot {
        submissions: 3,
        ..LedgerSnapshot::default()
    };
    ledger.device_to_host.record = 104;
    let found = measured(&mut record);
    found.timer = Timer::DeviceEvents;
    found.execution_path = Some(ExecutionPath::GpuResidentLinearization);
    found.ledger = Some(ledger);
    found.witness = Some(Witnessed {
        account: ledger,
        activity: Activity {
            device_to_host: Copies {
                count: 1,
                bytes: 104,
            },
            ..Activity::default()
        },
    });
    record
}

fn measured(record: &mut Record) -> &mut Measured {
    match &mut record.outcome {
        Outcome::Measured(measured) => measured,
        _ => unreachable!("the samples are measured"),
    }
}

/// The device of a record that has one.
fn on(record: &mut Record) -> &mut DeviceReceipt {
    match &mut record.receipt.device {
        Some(device) => device,
        None => unreachable!("the sample has a device"),
    }
}

/// What the reader says of a record that was sealed as it is.
fn read_back(record: &Record) -> Result<Record, Refused> {
    parse(&line(record).unwrap())
}

#[test]
fn records_come_back_as_they_were_written() {
    let mut declined = device();
    declined.outcome = Outcome::Declined(Absence::NoDevice.into());
    let records = [host(), device(), declined];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    write(&path, &records).unwrap();
    assert_eq!(read(&path).unwrap(), records);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_edit_by_hand_breaks_the_seal() {
    for record in [host(), device()] {
        let sealed = line(&record).unwrap();
        assert!(parse(&sealed).is_ok());
        // A better time, a cleaner commit, one blank, a seal cut off, a seal of another record.
        let other = {
            let mut other = record.clone();
            other.cell.name = "m".into();
            line(&other).unwrap()
        };
        let at = sealed.len() - 66;
        let edits = [
            sealed.replace("0.25", "0.24"),
            sealed.replace("\"dirty\":false", "\"dirty\":true"),
            sealed.replace("\"schema\":2,", "\"schema\":2, "),
            format!("{}}}", &sealed[..sealed.len() - 75]),
            format!("{}{}", &sealed[..at], &other[other.len() - 66..]),
        ];
        for edited in edits {
            assert_ne!(edited, sealed);
            assert_eq!(parse(&edited), Err(Refused::Seal), "{edited}");
        }
    }
}

#[test]
fn a_device_s_record_cannot_do_without_a_seal() {
    let mut record = device();
    record.schema = UNSEALED_SCHEMA;
    assert_eq!(read_back(&record), Err(Refused::Seal));
}

#[test]
fn a_record_of_the_host_of_schema_1_is_read_and_its_clock_was_the_host_s() {
    let mut record = host();
    record.schema = UNSEALED_SCHEMA;
    let mut value = serde_json::to_value(&record).unwrap();
    value["cell"].as_object_mut().unwrap().remove("place");
    let fields = value["outcome"]["measured"].as_object_mut().unwrap();
    fields.remove("timer");
    fields.remove("units");
    let text = value.to_string();
    assert_eq!(parse(&text), Ok(record.clone()));
    // It stays what it was when it is written again.
    assert!(!line(&record).unwrap().contains("seal"));
}

#[test]
fn a_record_without_its_receipt_is_refused_by_name() {
    for record in [host(), device()] {
        let mut value = serde_json::to_value(&record).unwrap();
        value.as_object_mut().unwrap().remove("receipt");
        assert_eq!(
            parse(&seal::seal(&value.to_string())),
            Err(Refused::NoReceipt)
        );
        value["receipt"] = serde_json::Value::Null;
        assert_eq!(
            parse(&seal::seal(&value.to_string())),
            Err(Refused::NoReceipt)
        );
    }
}

#[test]
fn a_device_s_record_whose_receipt_names_no_device_is_refused_by_name() {
    let mut record = device();
    record.receipt.device = None;
    assert_eq!(read_back(&record), Err(Refused::NoDevice));
    record.cell.place = Place::Host;
    assert_eq!(read_back(&record), Err(Refused::NoDevice));
}

#[test]
fn a_time_of_the_host_is_no_time_of_a_device() {
    let mut record = device();
    measured(&mut record).execution_path = Some(ExecutionPath::Cpu);
    let refused = read_back(&record);
    assert!(
        matches!(refused, Err(Refused::NotOnDevice { .. })),
        "{refused:?}"
    );
    // Nor where nothing was submitted, nor with a device's timer in a suite of the host.
    let mut record = device();
    measured(&mut record).ledger = Some(LedgerSnapshot::default());
    let refused = read_back(&record);
    assert!(
        matches!(refused, Err(Refused::NotOnDevice { .. })),
        "{refused:?}"
    );
    measured(&mut record).ledger = None;
    assert_eq!(read_back(&record), Err(Refused::NoLedger));
    let mut record = host();
    measured(&mut record).timer = Timer::DeviceEvents;
    let refused = read_back(&record);
    assert!(
        matches!(refused, Err(Refused::NotOnDevice { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_throttled_run_is_refused_by_name() {
    for before in [true, false] {
        let mut record = device();
        let reading = match before {
            true => &mut on(&mut record).before,
            false => &mut on(&mut record).after,
        };
        if let Some(reading) = reading {
            reading.clock_reasons = Some(ClockReasons(0x4 | 0x20));
        }
        let reason = "power cap, thermal limit (software)".to_owned();
        assert_eq!(read_back(&record), Err(Refused::Throttled { reason }));
    }
}

#[test]
fn witnesses_that_disagree_are_refused_by_name() {
    let refused = |change: fn(&mut Witnessed)| {
        let mut record = device();
        if let Some(witness) = &mut measured(&mut record).witness {
            change(witness);
        }
        matches!(read_back(&record), Err(Refused::Witness { .. }))
    };
    assert!(refused(|w| w.activity.device_to_host.bytes += 1));
    assert!(refused(|w| w.activity.host_to_device.bytes += 8));
    assert!(refused(|w| w.activity.dropped = 1));
    // The account of the pass is that of a sample.
    assert!(refused(|w| {
        w.account.device_to_host.record += 8;
        w.activity.device_to_host.bytes += 8;
    }));
    assert!(!refused(|_| ()));
}

#[test]
fn a_record_that_contradicts_itself_is_refused_by_name() {
    let lie = |change: fn(&mut Record)| {
        let mut record = host();
        change(&mut record);
        read_back(&record).unwrap_err()
    };
    assert_eq!(lie(|r| r.schema = 7), Refused::Schema { found: Some(7) });
    assert_eq!(lie(|r| measured(r).samples.clear()), Refused::NoSample);
    assert_eq!(lie(|r| measured(r).units = 0), Refused::NoUnit);
    let sample = -1.0;
    assert_eq!(
        lie(|r| measured(r).samples[0] = -1.0),
        Refused::Sample { sample }
    );
    let (error, bound) = (1e-12, 1e-13);
    let wrong = lie(|r| measured(r).parity.componentwise_error = 1e-12);
    assert_eq!(wrong, Refused::Parity { error, bound });
    let (own, other) = (2.1, 2.0);
    let wrong = lie(|r| measured(r).parity.log_determinant = Some(2.1));
    assert_eq!(wrong, Refused::LogDeterminant { own, other });
    for change in [
        (|r| r.receipt.commit = "unknown".into()) as fn(&mut Record),
        |r| r.receipt.libraries.clear(),
        |r| r.receipt.command.clear(),
    ] {
        assert!(matches!(lie(change), Refused::Receipt { .. }));
    }
    let mut record = device();
    on(&mut record).binary = "00".into();
    assert!(matches!(read_back(&record), Err(Refused::Receipt { .. })));
    let mut value = serde_json::to_value(host()).unwrap();
    value["extra"] = 1.into();
    let refused = parse(&seal::seal(&value.to_string()));
    assert!(
        matches!(refused, Err(Refused::Format { .. })),
        "{refused:?}"
    );
}
