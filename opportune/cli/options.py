"""Options and arguments that several commands share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
MongoUrl = Annotated[
    str | None, typer.Option("--mongodb-url", help="URL of MongoDB. Default: that of the running local system.")
]
Url = Annotated[str | None, typer.Option(help="URL of the endpoint. Default: that of the running local system.")]
Site = Annotated[str | None, typer.Option(help="Id of the site. Needed only if there are several.")]
SiteArgument = Annotated[str | None, typer.Argument(help="Id of the site. Needed only if there are several.")]
User = Annotated[str, typer.Argument(help="The user id that the site sends.")]
Map = Annotated[str, typer.Option("--map", help="For CSV: user_id=COLUMN,event=COLUMN,timestamp=COLUMN.")]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="Of NDJSON: segment, ga4, mixpanel, amplitude, posthog, snowplow or pinpoint. Default: guessed and named.",
    ),
]
EVENTS_FILE = "NDJSON of tracking messages, or CSV with --map. May be gzipped."
