"""Keeps a secret through a follower and reads it back; then meets every failure that applications must tell apart.

Prints "ok". Arguments: host:port of a follower, host:port of a sealed node, PEM file of the authority, directory of the
.proto files, a token that may do everything, a token that may do nothing here.
"""

import json
import pathlib
import sys
import tempfile

import grpc
from grpc_tools import protoc

follower, sealed, ca, protos, root, powerless = sys.argv[1:]

with tempfile.TemporaryDirectory() as out:
    files = sorted(str(file) for file in pathlib.Path(protos, "conclave/v1").glob("*.proto"))
    arguments = ["protoc", f"-I{protos}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    assert protoc.main(arguments) == 0, "the .proto files do not compile"
    sys.path.insert(0, out)
    from conclave.v1 import kv_pb2, kv_pb2_grpc

authority = grpc.ssl_channel_credentials(pathlib.Path(ca).read_bytes())


def service(address):
    return kv_pb2_grpc.KvStub(grpc.secure_channel(address, authority))


def own(token):
    return [("x-conclave-token", token)]


def status(call, request, metadata):
    """The status code of a call that must fail."""
    try:
        call(request, metadata=metadata, timeout=20)
    except grpc.RpcError as error:
        return error.code().name
    raise AssertionError("the call succeeded")


kv = service(follower)
secret = {"api_key": "sk-proj-x"}
put = kv_pb2.KvPutRequest(mount="secret", path="app/db", data=json.dumps(secret).encode(), cas=0)
get = kv_pb2.KvGetRequest(mount="secret", path="app/db")
assert kv.Put(put, metadata=own(root), timeout=20).version.version == 1
assert json.loads(kv.Get(get, metadata=own(root), timeout=20).data) == secret
large = kv_pb2.KvPutRequest(mount="secret", path="large", data=b'{"a":"' + b"x" * (5 << 20) + b'"}')
for name, found, expected in [
    ("a CAS mismatch", status(kv.Put, put, own(root)), "FAILED_PRECONDITION"),
    ("a wrong token", status(kv.Get, get, own("s.wrong")), "UNAUTHENTICATED"),
    ("no token", status(kv.Get, get, []), "UNAUTHENTICATED"),
    ("a denied path", status(kv.Get, get, own(powerless)), "PERMISSION_DENIED"),
    ("too large a secret", status(kv.Put, large, own(root)), "RESOURCE_EXHAUSTED"),
    ("a sealed node", status(service(sealed).Get, get, own(root)), "UNAVAILABLE"),
]:
    assert found == expected, f"{name}: {found}"
print("ok")
