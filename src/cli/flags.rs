//! The controller's flags, made from the table of options.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::{Kind, OPTIONS, OptionRow};

/// The flags that were given, by option.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags(pub(super) BTreeMap<&'static str, Vec<String>>);

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for option in OPTIONS {
            if let Some(values) = matches.get_many::<String>(option.name) {
                self.0.insert(option.name, values.cloned().collect());
            }
        }
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(OPTIONS.iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn arg(option: &'static OptionRow) -> Arg {
    let env = option.env.join(", ");
    let default = match option.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let arg = Arg::new(option.name)
        .long(option.name)
        .help(format!("{} [env: {env}]{default}", option.help))
        .action(ArgAction::Set);
    match option.kind {
        Kind::Value => arg.value_name(option.value),
        Kind::List => arg.value_name(option.value).action(ArgAction::Append),
        Kind::Flag => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .hide_possible_values(true)
            .value_name("BOOL"),
    }
}
