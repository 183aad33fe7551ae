"""Keeps a secret and reads it back, with classes generated from the .proto files. Prints "ok".

Arguments: host:port, PEM file of the authority, directory of the .proto files, token.
"""

import json
import pathlib
import sys
import tempfile

import grpc
from grpc_tools import protoc

address, ca, protos, token = sys.argv[1:]

with tempfile.TemporaryDirectory() as out:
    files = sorted(str(file) for file in pathlib.Path(protos, "conclave/v1").glob("*.proto"))
    arguments = ["protoc", f"-I{protos}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    assert protoc.main(arguments) == 0, "the .proto files do not compile"
    sys.path.insert(0, out)
    from conclave.v1 import kv_pb2, kv_pb2_grpc, sys_pb2, sys_pb2_grpc

credentials = grpc.ssl_channel_credentials(pathlib.Path(ca).read_bytes())
channel = grpc.secure_channel(address, credentials)
kv = kv_pb2_grpc.KvStub(channel)
own = [("x-conclave-token", token)]
secret = {"api_key": "sk-proj-x", "number": 12345678901234567890}


def status(call, request, metadata):
    """The status code of a call that must fail, and its reason."""
    try:
        call(request, metadata=metadata, timeout=20)
    except grpc.RpcError as error:
        reasons = [value for name, value in error.trailing_metadata() if name == "x-conclave-reason"]
        return error.code().name, reasons
    raise AssertionError("the call succeeded")


put = kv_pb2.KvPutRequest(mount="secret", path="app/ä", data=json.dumps(secret).encode(), cas=0)
assert kv.Put(put, metadata=own, timeout=20).version.version == 1
got = kv.Get(kv_pb2.KvGetRequest(mount="secret", path="app/ä"), metadata=own, timeout=20)
assert json.loads(got.data) == secret, got.data
assert list(kv.List(kv_pb2.KvListRequest(mount="secret", path="app"), metadata=own, timeout=20).keys) == ["ä"]
assert status(kv.Put, put, own) == ("FAILED_PRECONDITION", ["REASON_CAS_MISMATCH"])
assert status(kv.Put, put, []) == ("UNAUTHENTICATED", ["REASON_UNAUTHENTICATED"])
large = kv_pb2.KvPutRequest(mount="secret", path="large", data=b'{"a":"' + b"x" * (5 << 20) + b'"}')
assert status(kv.Put, large, own) == ("RESOURCE_EXHAUSTED", ["REASON_TOO_LARGE"])
health = sys_pb2_grpc.SysStub(channel).Health(sys_pb2.HealthRequest(), timeout=20)
assert health.initialized and not health.sealed
print("ok")
