"""The API from server version 201 on: raw message ids and protobuf bodies instead of text fields.

Both forms share one model: a protobuf request is rewritten as the fields of the same request in text, a text message
of the gateway as the protobuf message of the same content. The tables of ``requests`` and ``answers`` hold the field
numbers; ``encoding`` knows the bytes and no message.
"""
