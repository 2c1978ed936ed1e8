//! What an option is.

/// How an option is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value.
    Value,
    /// A flag without a value.
    Flag,
    /// Any number of values.
    List,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionRow {
    /// Its name: the flag without dashes, and the key in a file.
    pub name: &'static str,
    /// What help calls its value.
    pub value: &'static str,
    /// How it is given.
    pub kind: Kind,
    /// Environment variables, the first that is set wins.
    pub env: &'static [&'static str],
    /// What it is when nobody says; empty is not set.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

pub(super) const fn row(
    name: &'static str,
    value: &'static str,
    env: &'static [&'static str],
    default: &'static str,
    help: &'static str,
) -> OptionRow {
    OptionRow { name, value, kind: Kind::Value, env, default, help }
}

pub(super) const fn list(
    name: &'static str,
    value: &'static str,
    env: &'static [&'static str],
    help: &'static str,
) -> OptionRow {
    OptionRow { name, value, kind: Kind::List, env, default: "", help }
}

pub(super) const fn flag(
    name: &'static str,
    env: &'static [&'static str],
    help: &'static str,
) -> OptionRow {
    OptionRow { name, value: "", kind: Kind::Flag, env, default: "false", help }
}
