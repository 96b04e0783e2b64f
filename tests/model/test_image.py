"""Images: what an inventory may ask for, and what an image on a machine tells of itself."""

from __future__ import annotations

import re

import pytest

from pgberth.model.image import PGVECTOR_FLOOR, BuiltImage, Image, dotted, image_fault, version_of

LABELS = {
    "pgberth.uid": "101",
    "pgberth.gid": "102",
    "pgberth.bindir": "/usr/lib/postgresql/18/bin",
    "pgberth.postgres": "18.6",
    "pgberth.pgvector": "0.8.7",
    "pgberth.recipe": "4d77110c7694f458",
}
ID = "sha256:" + "4b" * 32
OURS = BuiltImage(ID, 101, 102, "/usr/lib/postgresql/18/bin", "18.6", "0.8.7", "4d77110c7694f458")


@pytest.mark.parametrize("image", [Image(), Image("sid", 17), Image("trixie", 16), Image("forky", 30)])
def test_a_suite_and_a_supported_major_are_taken(image: Image) -> None:
    assert image_fault(image) is None


BAD_IMAGES: list[tuple[object, str]] = [
    ("forky", "Image("),
    (None, "Image("),
    ({"suite": "forky"}, "Image("),
    (Image, "Image("),
    (Image(suite=""), "suite"),
    (Image(suite="Forky"), "suite"),
    (Image(suite="forky\n"), "suite"),
    (Image(suite="$(id)"), "suite"),
    (Image(suite="for ky"), "suite"),
    (Image(suite="--help"), "suite"),
    (Image(suite="x" * 21), "suite"),
    (Image(suite=5), "suite"),  # type: ignore[arg-type]
    (Image(postgres=15), "postgres"),
    (Image(postgres=31), "postgres"),
    (Image(postgres=True), "postgres"),
    (Image(postgres="18"), "postgres"),  # type: ignore[arg-type]
    (Image(postgres=18.0), "postgres"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("image", "says"), BAD_IMAGES)
def test_any_other_image_is_refused_naming_what_is_wrong(image: object, says: str) -> None:
    assert says in str(image_fault(image))


@pytest.mark.parametrize("path", ["/srv/server.tar", "images/server 18.tar.gz", "x"])
def test_the_path_of_an_archive_is_taken(path: str) -> None:
    image = Image(archive=path)
    assert image_fault(image) is None
    assert not image.built


BAD_ARCHIVES = [
    Image(archive="-x.tar"),
    Image(archive="a\nb"),
    Image(archive=5),  # type: ignore[arg-type]
    Image(archive=None),  # type: ignore[arg-type]
    Image(archive="/srv/server.tar", postgres=17),
    Image("sid", archive="/srv/server.tar"),
]


@pytest.mark.parametrize("image", BAD_ARCHIVES)
def test_an_archive_stands_alone_and_is_the_path_of_a_file(image: Image) -> None:
    assert "archive" in str(image_fault(image))


DIGEST = "sha256:" + "0d" * 32


@pytest.mark.parametrize(
    ("name", "digest", "repository"),
    [
        ("registry.example/x/postgres:18", "", "registry.example/x/postgres"),
        ("registry.example:5000/postgres:18", "", "registry.example:5000/postgres"),
        ("registry.example:5000/postgres", DIGEST, "registry.example:5000/postgres"),
        ("registry.example/x/postgres:18", DIGEST, "registry.example/x/postgres"),
        ("10.0.0.1:5000/a/b_c/d-e.f:1.2_3-x", "", "10.0.0.1:5000/a/b_c/d-e.f"),
        ("localhost/x:1", "", "localhost/x"),
        ("mirror:5000/x:1", "", "mirror:5000/x"),
        ("docker.io/pgvector/pgvector:pg18", "", "docker.io/pgvector/pgvector"),
    ],
)
def test_a_name_of_a_registry_is_taken_with_a_tag_or_a_digest(name: str, digest: str, repository: str) -> None:
    image = Image(name=name, digest=digest)
    assert image_fault(image) is None
    assert image.repository == repository
    assert not image.built


BAD_NAMES: list[tuple[Image, str]] = [
    (Image(name="registry.example/x/postgres"), "has a tag, or a digest"),
    (Image(name="postgres:18"), "registry.host/path"),
    (Image(name="pgvector/pgvector:pg18"), "registry.host/path"),
    (Image(name=f"registry.example/x@{DIGEST}"), "registry.host/path"),
    (Image(name="https://registry.example/x:1"), "registry.host/path"),
    (Image(name="registry.example/X:1"), "registry.host/path"),
    (Image(name="registry.example/x:1\n"), "registry.host/path"),
    (Image(name="registry.example/x: 1"), "registry.host/path"),
    (Image(name="--tls-verify=false"), "registry.host/path"),
    (Image(name="registry.example/$(id):1"), "registry.host/path"),
    (Image(name=5), "registry.host/path"),  # type: ignore[arg-type]
    (Image(digest=DIGEST), "registry.host/path"),
    (Image(name="registry.example/x:1", digest="sha256:123"), "64 of 0-9a-f"),
    (Image(name="registry.example/x:1", digest=DIGEST.upper()), "64 of 0-9a-f"),
    (Image(name="registry.example/x:1", digest=5), "64 of 0-9a-f"),  # type: ignore[arg-type]
    (Image(name="registry.example/x:1", suite="sid"), "without suite and postgres"),
    (Image(name="registry.example/x:1", archive="x.tar"), "archive alone"),
]


@pytest.mark.parametrize(("image", "says"), BAD_NAMES)
def test_any_other_name_or_digest_is_refused(image: Image, says: str) -> None:
    assert says in str(image_fault(image))


def test_an_image_is_shown_as_an_inventory_has_it() -> None:
    shown = [repr(image) for image in (Image(), Image(archive="x.tar"), Image(name="a.b/c:1", digest=DIGEST))]
    assert shown == [
        "Image(suite='forky', postgres=18)",
        "Image(archive='x.tar')",
        f"Image(name='a.b/c:1', digest='{DIGEST}')",
    ]


def test_an_archive_has_a_tag_of_its_own_that_podman_takes() -> None:
    tags = {Image(archive=path).tag for path in ("/a/server.tar", "/b/server.tar", "/a/Sör ver.tar", "/a/" + "x" * 300)}
    assert len(tags) == 4
    assert all(re.fullmatch(r"localhost/pgberth-archive:[A-Za-z0-9][A-Za-z0-9.-]{0,127}", tag) for tag in tags)


def test_an_image_is_built_anew_when_what_it_is_built_from_changes() -> None:
    recipes = {image.recipe for image in (Image(), Image("sid"), Image(postgres=17))}
    assert len(recipes) == 3
    assert Image().recipe == Image("forky", 18).recipe


def test_labels_of_our_own_make_an_image() -> None:
    assert BuiltImage.from_labels(ID, LABELS) == OURS
    assert OURS.major == 18


@pytest.mark.parametrize("label", LABELS)
def test_an_image_without_one_of_the_labels_is_not_ours(label: str) -> None:
    assert BuiltImage.from_labels(ID, {name: text for name, text in LABELS.items() if name != label}) is None


@pytest.mark.parametrize("label", ["pgberth.uid", "pgberth.gid"])
def test_an_image_whose_user_is_no_number_is_not_ours(label: str) -> None:
    assert BuiltImage.from_labels(ID, {**LABELS, label: "postgres"}) is None


@pytest.mark.parametrize(
    ("text", "desired"),
    [
        ("0.8.4", (0, 8, 4)),
        ("0.8.7-1", (0, 8, 7)),
        ("0.10", (0, 10)),
        ("18", (18,)),
        ("5.4.2+ds1-2", (5, 4, 2)),
        ("4.3.1", (4, 3, 1)),
        ("", ()),
        ("unknown", ()),
        ("v1.2", ()),
    ],
)
def test_a_version_is_its_leading_numbers(text: str, desired: tuple[int, ...]) -> None:
    assert version_of(text) == desired


@pytest.mark.parametrize("pgvector", ["0.8.3", "0.7.4", "0.8", "0", "", "unknown"])
def test_pgvector_below_the_floor_or_of_no_known_version_is_old(pgvector: str) -> None:
    assert version_of(pgvector) < PGVECTOR_FLOOR


@pytest.mark.parametrize("pgvector", ["0.8.4", "0.8.7", "0.8.10", "0.9", "0.10.0", "1.0"])
def test_versions_are_compared_as_numbers_not_as_text(pgvector: str) -> None:
    assert version_of(pgvector) >= PGVECTOR_FLOOR
    assert version_of(dotted(version_of(pgvector))) == version_of(pgvector)
