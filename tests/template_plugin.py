# SPDX-License-Identifier: MIT
"""The template plugin called as the engine calls it, by hone/plugin.h."""
import ctypes as C
import json


class _Plugin(C.Structure):
    _fields_ = [("abi", C.c_uint32), ("size", C.c_uint32),
                ("name", C.c_char_p), ("version", C.c_char_p),
                ("built_with", C.c_char_p),
                ("components", C.POINTER(C.c_void_p))]


class _Component(C.Structure):
    _fields_ = [("size", C.c_uint32), ("kind", C.c_int),
                ("name", C.c_char_p), ("help", C.c_char_p),
                ("options", C.c_void_p), ("config_size", C.c_size_t),
                ("state_size", C.c_size_t), ("persist_size", C.c_size_t),
                ("open", C.c_void_p), ("close", C.c_void_p),
                ("ops", C.c_void_p)]


class _Err(C.Structure):
    _fields_ = [("code", C.c_int), ("msg", C.c_char * 1024)]


class _Span(C.Structure):
    _fields_ = [("start", C.c_int64), ("end", C.c_int64)]


class _Rendered(C.Structure):
    _fields_ = [("size", C.c_uint32), ("text", C.c_void_p),
                ("bytes", C.c_int64), ("span", C.POINTER(_Span)),
                ("spans", C.c_uint32), ("found", C.c_int),
                ("raised", C.c_char_p), ("memory", C.c_void_p)]


_LOAD = C.CFUNCTYPE(C.c_int, C.c_void_p, C.c_char_p, C.c_size_t,
                    C.POINTER(C.c_void_p), C.POINTER(_Err))
_UNLOAD = C.CFUNCTYPE(None, C.c_void_p)
_RENDER = C.CFUNCTYPE(C.c_int, C.c_void_p, C.c_char_p, C.c_size_t, C.c_int,
                      C.POINTER(_Rendered), C.POINTER(_Err))
_RELEASE = C.CFUNCTYPE(None, C.POINTER(_Rendered))
_USES = C.CFUNCTYPE(C.c_int, C.c_void_p, C.c_char_p)


class _Ops(C.Structure):
    _fields_ = [("size", C.c_uint32), ("load", _LOAD), ("unload", _UNLOAD),
                ("render", _RENDER), ("release", _RELEASE), ("uses", _USES)]


NOTHING, ASSISTANT, LAST = 1, 2, 3


class Refused(Exception):
    """raised: the words of raise_exception(), None for another error."""

    def __init__(self, message, raised=None):
        super().__init__(message)
        self.raised = raised


class Loaded:
    def __init__(self, ops, text):
        self.ops, self.self = ops, C.c_void_p()
        err = _Err()
        raw = text if isinstance(text, bytes) else text.encode()
        self.broken = None
        if ops.load(None, raw, len(raw), C.byref(self.self), C.byref(err)):
            self.broken = err.msg.decode(errors="replace")

    def __del__(self):
        if self.self:
            self.ops.unload(self.self)

    def uses(self, name):
        return bool(self.ops.uses(self.self, name.encode()))

    def call(self, variables, learn=NOTHING):
        """The text as bytes and its spans."""
        if self.broken is not None:
            raise Refused(self.broken)
        raw = variables if isinstance(variables, bytes) else json.dumps(
            variables, ensure_ascii=False).encode()
        out, err = _Rendered(size=C.sizeof(_Rendered)), _Err()
        status = self.ops.render(self.self, raw, len(raw), learn,
                                 C.byref(out), C.byref(err))
        try:
            if status:
                raised = out.raised
                raise Refused(err.msg.decode(errors="replace"),
                              None if raised is None else raised.decode())
            return (C.string_at(out.text, out.bytes),
                    [(out.span[i].start, out.span[i].end)
                     for i in range(out.spans)])
        finally:
            self.ops.release(C.byref(out))

    def render(self, variables):
        return self.call(variables)[0].decode()


class Plugin:
    def __init__(self, path):
        self.so = C.CDLL(str(path))
        entry = self.so.hone_plugin_entry
        entry.restype = C.POINTER(_Plugin)
        component = C.cast(entry().contents.components[0],
                           C.POINTER(_Component)).contents
        self.ops = C.cast(component.ops, C.POINTER(_Ops)).contents

    def load(self, text):
        return Loaded(self.ops, text)
