"""Images: what an inventory may ask for, and what an image on a machine tells of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgberth.model.image import BuiltImage, Image, image_fault, version_of

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
    ("text", "wanted"),
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
def test_a_version_is_its_leading_numbers(text: str, wanted: tuple[int, ...]) -> None:
    assert version_of(text) == wanted


@pytest.mark.parametrize("pgvector", ["0.8.3", "0.7.4", "0.8", "0", "", "unknown"])
def test_pgvector_below_the_floor_or_of_no_known_version_is_old(pgvector: str) -> None:
    assert replace(OURS, pgvector=pgvector).pgvector_is_old


@pytest.mark.parametrize("pgvector", ["0.8.4", "0.8.7", "0.8.10", "0.9", "0.10.0", "1.0"])
def test_versions_are_compared_as_numbers_not_as_text(pgvector: str) -> None:
    assert not replace(OURS, pgvector=pgvector).pgvector_is_old
