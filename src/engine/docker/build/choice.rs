//! Which builder builds.

use super::super::super::Wants;

/// Which builder is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Builder {
    /// `BuildKit` where the engine offers it, the classic builder where not, or where only that
    /// one does what is asked for.
    #[default]
    Auto,
    /// The classic builder.
    Classic,
    /// `BuildKit`.
    Buildkit,
}

/// What an engine offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Offer {
    /// Both builders.
    Both,
    /// The classic builder alone.
    Classic,
    /// One of its own that takes everything for what the classic one takes: Podman's.
    Own,
}

/// Chooses; answers whether it is `BuildKit`, or a sentence that says why nobody can build this.
pub(super) fn choose(
    builder: Builder,
    offer: Offer,
    is_limited: bool,
    has_secrets: bool,
    wants: &Wants,
) -> Result<bool, String> {
    let takes = match &wants.buildkit {
        Some(what) => Some(format!("the Dockerfile uses `{what}`, which takes BuildKit")),
        None if has_secrets => Some("the build gets secrets, which takes BuildKit".to_owned()),
        None => None,
    };
    let absent = "this engine does not offer it; use Docker Engine with BuildKit enabled";
    match (builder, offer, takes) {
        (Builder::Buildkit, Offer::Both, _) => Ok(true),
        (Builder::Buildkit, ..) => Err(format!("`builder` is buildkit, and {absent}")),
        (_, Offer::Own, _) if has_secrets => {
            Err(format!("the build gets secrets, which takes BuildKit: {absent}"))
        }
        (_, Offer::Own, _)
        | (Builder::Classic, _, None)
        | (Builder::Auto, Offer::Classic, None) => Ok(false),
        (Builder::Classic, _, Some(takes)) => {
            Err(format!("{takes}, and `builder` is classic: set it to auto or buildkit"))
        }

        (Builder::Auto, Offer::Classic, Some(takes)) => Err(format!("{takes}: {absent}")),
        (Builder::Auto, Offer::Both, Some(takes)) if is_limited => Err(format!(
            "{takes}, and `build-memory` and `build-cpus` hold for the classic builder only: \
             unset them, or set `builder` to buildkit to build without them"
        )),
        (Builder::Auto, Offer::Both, Some(_)) => Ok(true),
        (Builder::Auto, Offer::Both, None) => Ok(!is_limited && !wants.classic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(buildkit: bool, classic: bool) -> Wants {
        Wants { buildkit: buildkit.then(|| "RUN --mount".to_owned()), classic }
    }

    #[test]
    fn buildkit_builds_where_it_is_offered_and_nothing_speaks_against_it() {
        let auto = |offer, limited, wants| choose(Builder::Auto, offer, limited, false, &wants);
        assert_eq!(auto(Offer::Both, false, wants(false, false)), Ok(true));
        assert_eq!(auto(Offer::Classic, false, wants(false, false)), Ok(false));
        assert_eq!(auto(Offer::Own, false, wants(true, false)), Ok(false));
        // Limits, and files that only the classic builder hides.
        assert_eq!(auto(Offer::Both, true, wants(false, false)), Ok(false));
        assert_eq!(auto(Offer::Both, false, wants(false, true)), Ok(false));
        assert_eq!(auto(Offer::Both, false, wants(true, true)), Ok(true));
    }

    #[test]
    fn what_nobody_can_build_is_said_with_what_to_do() {
        let says = |builder, offer, limited, secrets: bool, what: &str| {
            let wants = wants(!secrets && builder != Builder::Buildkit, false);
            let said = choose(builder, offer, limited, secrets, &wants).unwrap_err();
            assert!(said.contains(what), "{said}");
        };
        says(Builder::Classic, Offer::Both, false, false, "set it to auto or buildkit");
        says(Builder::Classic, Offer::Both, false, true, "the build gets secrets");
        says(Builder::Auto, Offer::Classic, false, false, "does not offer it");
        says(Builder::Auto, Offer::Both, true, false, "unset them");
        says(Builder::Auto, Offer::Own, false, true, "secrets");
        says(Builder::Buildkit, Offer::Classic, false, false, "does not offer it");
        let limited = choose(Builder::Buildkit, Offer::Both, true, true, &wants(true, false));
        assert_eq!(limited, Ok(true), "who asks for it gets it");
    }
}
