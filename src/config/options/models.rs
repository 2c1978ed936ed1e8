//! Options of the model store.

use crate::config::option::{OptionRow, list, row};

pub(super) const MODELS: &[OptionRow] = &[
    row(
        "model-store",
        "DIR",
        &["BERTH_MODEL_STORE", "MODEL_STORAGE_PATH"],
        "/var/lib/berth/models",
        "The folder of the model store",
    ),
    row(
        "model-store-host",
        "DIR",
        &["BERTH_MODEL_STORE_HOST"],
        "",
        "The folder of the model store as the engine's host knows it, where Berth itself runs in a container",
    ),
    row(
        "hub-url",
        "URL",
        &["BERTH_HUB_URL"],
        "",
        "The address at which containers reach this Berth, such as http://172.17.0.1:8000, for apps with `models.hub`",
    ),
    row(
        "model-max-file",
        "SIZE",
        &["BERTH_MODEL_MAX_FILE"],
        "",
        "How large one file of the model store may be, such as 50Gi",
    ),
    row(
        "model-quota",
        "SIZE",
        &["BERTH_MODEL_QUOTA"],
        "",
        "How much one project of the model store may have, such as 500Gi",
    ),
    row(
        "model-max-models",
        "COUNT",
        &["BERTH_MODEL_MAX_MODELS"],
        "0",
        "How many models one project of the model store may have; 0 is any number",
    ),
    list(
        "model-policy",
        "[PROJECT=]WHAT",
        &["BERTH_MODEL_POLICY"],
        "What becomes of models that run code when they are loaded: allow, warn or block; may be repeated",
    ),
    list(
        "model-endings",
        "ENDING",
        &["BERTH_MODEL_ENDINGS"],
        "An ending that names of stored files may have, such as .safetensors; may be repeated",
    ),
    row(
        "model-upload-ttl",
        "DURATION",
        &["BERTH_MODEL_UPLOAD_TTL"],
        "24h",
        "How long an upload that was broken off can be taken up again",
    ),
    row(
        "model-scrub",
        "SIZE",
        &["BERTH_MODEL_SCRUB"],
        "20Mi",
        "How much of the model store is read again in a second, to find what the disk has changed; 0 is nothing",
    ),
    list(
        "model-hook",
        "URL",
        &["BERTH_MODEL_HOOK"],
        "Where is told what happens in the model store; may be repeated",
    ),
    list(
        "model-hook-secret",
        "NAME",
        &["BERTH_MODEL_HOOK_SECRET"],
        "The secret that messages to model-hook are signed with",
    ),
    row(
        "model-trash",
        "DURATION",
        &["BERTH_MODEL_TRASH"],
        "168h",
        "How long deleted models can be brought back; 0s removes them at once",
    ),
    row(
        "model-history",
        "COUNT",
        &["BERTH_MODEL_HISTORY"],
        "100",
        "How many commits of each branch the Hub's side of the model store keeps with their contents",
    ),
    row(
        "model-history-age",
        "DURATION",
        &["BERTH_MODEL_HISTORY_AGE"],
        "0s",
        "How long commits that others have followed are kept with their contents; 0s is as long as model-history lets them",
    ),
    list(
        "model-immutable",
        "[PROJECT=]WHICH",
        &["BERTH_MODEL_IMMUTABLE"],
        "Which stored versions may not be changed or deleted: off, versions or semver-releases; may be repeated",
    ),
];
