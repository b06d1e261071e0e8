"""A WSGI application: says by which process, how and with how many bytes it was asked; /chunked in three pieces."""

import os


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/chunked":
        return [b"one\n", b"two\n", b"three\n"]
    length = len(environ["wsgi.input"].read())
    return [f"{os.getpid()} {environ['REQUEST_METHOD']} {length}\n".encode()]
