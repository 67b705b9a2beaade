"""A certificate that is replaced while the process runs."""

from pathlib import Path

import pytest
import trustme

from trainingjob_web.certificate import Certificate, CertificateError


def issue(folder: Path, name: str) -> tuple[Path, Path]:
    """Put a new certificate into the folder, as the kubelet does: by renaming."""
    made = trustme.CA().issue_cert(name)
    files = (folder / "tls.crt", folder / "tls.key")
    contents = (made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes())
    for file, content in zip(files, contents, strict=True):
        fresh = folder / f".{file.name}"
        fresh.write_bytes(content)
        fresh.rename(file)
    return files


def test_a_changed_certificate_is_loaded_once_and_a_broken_one_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = issue(tmp_path, "a.example")
    certificate = Certificate(*files)
    first = certificate.context()
    assert certificate.context() is first
    issue(tmp_path, "b.example")
    second = certificate.context()
    assert second is not first
    files[1].write_text("no key")
    for _ in range(3):
        assert certificate.context() is second
    files[0].unlink()
    assert certificate.context() is second
    assert len(caplog.messages) == 2
    issue(tmp_path, "c.example")
    assert certificate.context() is not second


def test_an_unusable_certificate_at_the_start_is_named(tmp_path: Path) -> None:
    certificate, _ = issue(tmp_path, "a.example")
    (tmp_path / "other").mkdir()
    _, other = issue(tmp_path / "other", "b.example")
    for key in (other, tmp_path / "missing"):
        with pytest.raises(CertificateError, match=str(certificate)):
            Certificate(certificate, key)
