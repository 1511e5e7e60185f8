"""The h2 library as this server sets it up. Never: time, handlers or sockets."""

from typing import Final

import h2.config
import h2.connection
import h2.settings
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from broker.api.web.limits import WebLimits

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_CONNECTION_WINDOWS: Final = 4  # of a stream, for all streams of a connection together
_HEADER_TABLE_BYTES_MAX: Final = 4_096  # ours for answers; a client may allow gigabytes, searched one by one
_CONFIG: Final = h2.config.H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,  # http2_headers does, of both
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


def new_state(limits: WebLimits) -> h2.connection.H2Connection:
    """A connection whose settings are ready to be sent."""
    state = h2.connection.H2Connection(_CONFIG)
    codes = h2.settings.SettingCodes
    header_bytes_max = 2 * limits.header_bytes_max  # between once and twice a stream is refused, over it a connection
    state.local_settings = h2.settings.Settings(
        client=False,
        initial_values={
            codes.MAX_CONCURRENT_STREAMS: limits.streams_max,
            codes.INITIAL_WINDOW_SIZE: limits.window_bytes,
            codes.MAX_HEADER_LIST_SIZE: header_bytes_max,
        },
    )
    state.decoder.max_header_list_size = header_bytes_max
    state.initiate_connection()
    state.increment_flow_control_window(_CONNECTION_WINDOWS * limits.window_bytes)
    return state


def bound_header_table(state: h2.connection.H2Connection) -> None:
    """Once the client has said what it allows."""
    encoder = state.encoder
    encoder.header_table_size = min(encoder.header_table_size, _HEADER_TABLE_BYTES_MAX)


def goaway(state: h2.connection.H2Connection, code: ErrorCodes) -> bytes:
    """A GOAWAY of which the library does not know: it would let nothing more be sent on the streams that are open."""
    return GoAwayFrame(0, last_stream_id=state.highest_inbound_stream_id, error_code=code).serialize()
