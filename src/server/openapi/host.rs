//! What is about all apps, or about none: events, images, capacity, the audit log, webhooks.

use super::{
    documents::{Accepted, Anything, AuditList, CapacityDocument, EventList, HostDocument, Queued},
    images::ImageList,
    operation::{Operation, op},
};
use crate::server::{host, paging::Page, stream, trail};

const TAG: &str = "host";

pub(super) fn docs() -> Vec<Operation> {
    vec![
        op(("GET", "/api/v1/capacity"), (TAG, "readCapacity"), "What is asked for, used and there")
            .json::<CapacityDocument>(200, "The figures."),
        op(("GET", "/api/v1/host"), (TAG, "examineHost"), "Whether this machine is fit for Berth")
            .says("What `berth doctor` shows: checks with their outcome, what was seen and what to do. At most 30 seconds old, with `fresh=true` at most three; `at` says when it was looked.")
            .query::<host::Query>()
            .json::<HostDocument>(200, "The checks, in the order of their groups."),
        op(("GET", "/api/v1/images"), (TAG, "listImages"), "The images that Berth built")
            .says("With those that nothing needs, and why. With `limit`, `images` is a page, and `Link: rel=\"next\"` names the next one.")
            .query::<Page>()
            .json::<ImageList>(200, "The images.")
            .problems(&[503]),
        op(("POST", "/api/v1/images/gc"), (TAG, "collectImages"), "Remove the images that nothing needs")
            .json::<ImageList>(200, "What was removed."),
        op(("POST", "/api/v1/confirm"), (TAG, "confirm"), "Go on with what is held back")
            .says("With another engine that answers, else with removals that are held back.")
            .json::<Accepted>(202, "It goes on.")
            .problems(&[409, 507]),
        op(("POST", "/api/v1/rescan"), (TAG, "rescan"), "Read the manifests now")
            .json::<Accepted>(202, "They are read."),
        op(("POST", "/api/v1/hooks/git"), (TAG, "receiveHook"), "A webhook of a git server")
            .says("What GitHub, Gitea, Forgejo and GitLab send: the repository is looked at now.")
            .takes::<Anything>("application/json")
            .json::<Queued>(202, "It is looked at.")
            .json::<Queued>(200, "There is nothing to look at.")
            .problems(&[408, 413, 415]),
        op(("GET", "/api/v1/events"), (TAG, "followEvents"), "Everything that changes, as it changes")
            .says("Server-sent events: `snapshot`, then `upsert`, `delete`, `event`, `bookmark`, `resync`.")
            .query::<stream::Query>()
            .header("Last-Event-ID", "The last event that was seen.")
            .text(200, "text/event-stream", "The stream; it does not end.")
            .problems(&[503]),
        op(("GET", "/api/v1/events/recent"), (TAG, "listEvents"), "The events that are kept")
            .says("The newest `limit`, oldest first; `Link: rel=\"next\"` names those before them.")
            .query::<stream::Query>()
            .json::<EventList>(200, "The events."),
        op(("GET", "/api/v1/audit"), (TAG, "listAudit"), "Who changed what, the newest first")
            .query::<trail::Query>()
            .json::<AuditList>(200, "The records; `next` and `Link` name the next page."),
    ]
}
