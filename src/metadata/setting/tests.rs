//! Rules of values, and changes of lists.

use super::*;

const LIST: Setting = Setting {
    name: "list",
    kind: ConfigKind::List,
    default: DefaultValue::Text("a,b"),
    rule: Rule::Boolean,
    documentation: "",
};

fn accepts(rule: Rule, text: &str) -> bool {
    Setting { rule, ..LIST }.parse(text).is_ok()
}

fn changed(current: &[(&str, &str)], change: ConfigChange, replace_all: bool) -> Vec<String> {
    let current = current.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    let changes = [("list".to_owned(), change)];
    let changed = change_settings(&[LIST], &current, &changes, replace_all).unwrap();
    changed.into_values().collect()
}

#[test]
fn rules_accept_and_refuse() {
    assert!(accepts(Rule::Boolean, " TRUE ") && accepts(Rule::Boolean, "false"));
    assert!(!accepts(Rule::Boolean, "1") && !accepts(Rule::Boolean, ""));
    let number = Rule::Number { min: -1, max: 10 };
    assert!(accepts(number, "-1") && accepts(number, "10") && accepts(number, "+3"));
    for text in ["-2", "11", "1.0", "", "x", "99999999999999999999", "0x1"] {
        assert!(!accepts(number, text), "{text}");
    }
    assert!(accepts(Rule::Ratio, "0.5") && accepts(Rule::Ratio, "1"));
    for text in ["NaN", "inf", "-0.1", "1.01", ""] {
        assert!(!accepts(Rule::Ratio, text), "{text}");
    }
    for text in ["3.0-IV1", "2.8", "0.10.2-IV0"] {
        assert!(accepts(Rule::KafkaVersion, text), "{text}");
    }
    for text in ["", "3", "x.y", "3.0-", "3.0-IVx"] {
        assert!(!accepts(Rule::KafkaVersion, text), "{text}");
    }
    assert!(!accepts(Rule::ReadOnly { why: "" }, "a"));
}

#[test]
fn errors_name_setting_value_and_what_is_allowed() {
    let setting = Setting { rule: Rule::Number { min: 1, max: 5 }, ..LIST };
    assert_eq!(
        setting.parse("9").unwrap_err().to_string(),
        "Invalid value \"9\" for configuration list: Value must be a whole number from 1 to 5"
    );
    let long = "9".repeat(SETTING_VALUE_BYTES_MAX + 1);
    assert!(setting.parse(&long).unwrap_err().0.len() < 200, "long values aren't echoed");
}

#[test]
fn lists_grow_and_shrink_from_their_default() {
    assert_eq!(changed(&[], ConfigChange::Append("b, c".into()), false), ["a,b,c"]);
    assert_eq!(changed(&[], ConfigChange::Subtract("a,x".into()), false), ["b"]);
    assert_eq!(changed(&[("list", "z")], ConfigChange::Append("y".into()), false), ["z,y"]);
}

#[test]
fn replacing_forgets_what_is_not_named() {
    let current = [("list", "z"), ("other", "1")];
    assert_eq!(changed(&current, ConfigChange::Set("q".into()), false), ["q", "1"]);
    assert_eq!(changed(&current, ConfigChange::Set("q".into()), true), ["q"]);
    assert_eq!(changed(&current, ConfigChange::Delete, false), ["1"]);
}

#[test]
fn impossible_changes_are_refused() {
    let refused = |setting: Setting, names: &[&str], change: ConfigChange| {
        let changes: Vec<_> = names.iter().map(|n| (n.to_string(), change.clone())).collect();
        change_settings(&[setting], &BTreeMap::new(), &changes, false).unwrap_err().0
    };
    assert!(refused(LIST, &["nothing"], ConfigChange::Delete).contains("\"nothing\""));
    assert!(refused(LIST, &["list", "list"], ConfigChange::Delete).contains("more than once"));
    let text = Setting { kind: ConfigKind::String, ..LIST };
    assert!(refused(text, &["list"], ConfigChange::Append("a".into())).contains("not a list"));
    let huge = ConfigChange::Append("a,".repeat(100_000));
    assert!(refused(LIST, &["list"], huge).contains("bytes long"));
}
