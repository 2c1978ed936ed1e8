"""What the document can't tell schemathesis."""

import schemathesis


@schemathesis.hook
def map_query(context, query):
    """A log that is followed has no end."""
    if query and context.operation.path.endswith("/logs"):
        query.pop("follow", None)
    return query


@schemathesis.serializer("application/offset+octet-stream", "application/partial-upload")
def parts_of_files(context, value):
    """Parts of files are bytes as they are."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
