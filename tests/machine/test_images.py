"""Images on a machine: built, loaded from an archive, looked into; and left alone where nothing is to be done."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import FileDownloadCommand, FileUploadCommand, operation

from pgberth import commands
from pgberth.machine import images, operations
from pgberth.machine.archive import Archive
from pgberth.machine.facts import AccountFacts, AccountObservation, MachineContext, MachineObservation
from pgberth.machine.image_inventory import ImageInventory, ImageState, staged_archive
from pgberth.machine.images import mirror
from pgberth.machine.preparation import MachineFacts
from pgberth.model.image import BuiltImage, Image
from pgberth.model.problems import Refused
from pgberth.model.tenant import Machine
from tests.fake_host import Answer, FakeHost, on, sent
from tests.fake_podman import FakePrograms
from tests.machine.archives import docker_archive
from tests.machine.states import FRESH, READY_AS_ROOT, READY_AS_USER
from tests.sample import IMAGE, READY, TAG

HAS_ALL = AccountFacts({TAG: IMAGE}, READY)
CONFIGURED = ("storage.conf", Answer())
THERE = ("podman image exists", Answer("amd64\nthere"))


class Told(ImageInventory):
    """
    What the machines of a run have told, the one under test among them.

    + others: the other machines, in front of it in the inventory -> what they hold
    """

    def __init__(self, image: Image, own: ImageState, name: str = "@local", failed: str = "", **others: ImageState):
        super().__init__({machine: [image] for machine in (*others, name)}, lambda machine: machine == failed)
        for machine, held in {**others, name: own}.items():
            self.record(machine, image, held)


def alone(image: Image, own: ImageState | None = None, name: str = "@local") -> ImageInventory:
    return Told(image, own or ImageState(), name)


def made(host: FakeHost, context: MachineContext, image_inventory: ImageInventory | None = None) -> list[Any]:
    image_inventory = image_inventory or alone(context.images[0], name=context.machine.name)
    return sent(images.make_images, host, context=context, image_inventory=image_inventory)


def present(host: FakeHost, context: MachineContext, image_inventory: ImageInventory | None = None) -> list[Any]:
    image_inventory = image_inventory or alone(context.images[0], name=context.machine.name)
    return sent(images.provide_images, host, context=context, image_inventory=image_inventory)


def context(image: Image | None = None, name: str = "@local") -> MachineContext:
    return MachineContext(Machine(name), [image or Image()])


def machine(facts: MachineFacts | None, account: AccountFacts | None = None, **more: Any) -> FakeHost:
    return FakeHost(facts={MachineObservation: facts, AccountObservation: account or AccountFacts({}, None)}, **more)


@pytest.mark.parametrize("facts", [None, FRESH])
def test_no_image_is_made_where_there_is_no_account(facts: MachineFacts | None) -> None:
    host = machine(facts)
    assert made(host, context()) == present(host, context()) == []
    assert host.asked == []


def test_an_image_that_is_there_by_its_present_recipe_is_left_alone() -> None:
    host, image_inventory = machine(READY_AS_ROOT, account=HAS_ALL), alone(Image(), ImageState(IMAGE.id))
    assert made(host, context(), image_inventory) == present(host, context(), image_inventory) == []


@pytest.mark.parametrize("have", [{}, {TAG: replace(IMAGE, recipe="another")}], ids=["missing", "of another recipe"])
def test_any_other_image_is_built_from_what_the_inventory_names(have: dict[str, Any]) -> None:
    listed = Answer("Debian main http://deb.example.org/debian\nDebian contrib http://deb.example.org/debian")
    host = machine(READY_AS_ROOT, account=AccountFacts(have, None), answers=[("indextargets", listed)])
    (build,) = made(host, context())
    assert build.script == commands.script("machine/build-image.sh")
    packages = "postgresql-18,postgresql-18-pgvector"
    assert build.arguments == ["forky", TAG, Image().recipe, "18", "http://deb.example.org/debian", packages]


def test_each_image_of_an_inventory_is_built_once() -> None:
    desired, image_inventory = MachineContext(Machine("@local"), [Image(), Image("sid", 17)]), alone(Image())
    image_inventory.desired = {"@local": desired.images}
    image_inventory.record("@local", Image("sid", 17), ImageState())
    built = made(machine(READY_AS_ROOT), desired, image_inventory)
    assert [command.arguments[1] for command in built] == [TAG, "localhost/pgberth:17-sid"]


MIRRORS: list[tuple[str, Answer, str]] = [
    ("debian ", Answer("Debian main https://mirror.example.org/debian"), "https://mirror.example.org/debian"),
    (
        "debian ",
        Answer("Debian main https://security.debian.org/debian-security\nDebian main http://a/b"),
        "http://a/b",
    ),
    ("ubuntu debian", Answer("Ubuntu main http://archive.example.org/ubuntu"), ""),
    ("debian ", Answer("Docker main http://docker.example.org"), ""),
    ("debian ", Answer("Debian contrib http://deb.example.org/debian"), ""),
    ("debian ", Answer(""), ""),
    ("debian ", Answer("Debian main http://deb.example.org/debian", done=False), ""),
    ("debian ", Answer("garbled"), ""),
    ("fedora ", Answer("Debian main http://deb.example.org/debian"), ""),
]


@pytest.mark.parametrize(("distribution", "listed", "desired"), MIRRORS)
def test_the_machines_own_debian_mirror_is_used_and_no_other(distribution: str, listed: Answer, desired: str) -> None:
    host = FakeHost(answers=[("indextargets", listed)])
    found: list[str] = []

    def ask() -> Iterator[None]:
        found.append(mirror(replace(READY_AS_ROOT, distribution=distribution)))
        yield from ()

    ask._inner = ask  # type: ignore[attr-defined]  # so that it runs as an operation does, on that host
    sent(ask, host)
    assert found == [desired]


@pytest.fixture
def archived(tmp_path: Path) -> Image:
    return Image(archive=str(docker_archive(tmp_path / "server image.tar")))


def id_of(image: Image) -> str:
    return Archive.read(image.archive).id


@pytest.mark.parametrize("known", [True, False], ids=["known", "not looked into yet"])
def test_an_archive_whose_image_is_there_is_not_loaded_again(archived: Image, known: bool) -> None:
    account = AccountFacts({archived.tag: replace(IMAGE, id=id_of(archived))}, None)
    if not known:
        account = AccountFacts({}, None, {archived.tag: id_of(archived)})
    host = machine(READY_AS_ROOT, account)
    assert present(host, context(archived)) == []
    assert host.asked == []


def test_an_archive_on_the_same_machine_is_read_where_it_is(archived: Image) -> None:
    (load,) = present(machine(READY_AS_ROOT), context(archived))
    assert load.script == commands.script("machine/load-image.sh")
    assert load.arguments[:3] == [id_of(archived), archived.tag, archived.archive]
    assert load.text.startswith("( /bin/sh -c ")
    assert load.words[-2:] == ["<", archived.archive]


@pytest.mark.parametrize(
    ("facts", "place"), [(READY_AS_ROOT, "/var/cache/pgberth"), (READY_AS_USER, "/home/ada/.cache/pgberth")]
)
def test_an_archive_goes_over_to_another_machine_and_is_removed_there(
    archived: Image, facts: MachineFacts, place: str
) -> None:
    prepare, upload, load = present(machine(facts), context(archived, "db1"))
    there = f"{place}/{id_of(archived).removeprefix('sha256:')}.tar"
    assert f"mkdir -p {place}" in prepare.text
    assert isinstance(upload, FileUploadCommand)
    assert (upload.src, upload.dest) == (archived.archive, there)
    assert load.text.endswith(f"< {there} ; code=$?; rm -f {there} ; exit $code")


@pytest.mark.parametrize("name", ["@local", "db1"])
def test_an_image_that_is_there_under_another_name_is_not_shipped(archived: Image, name: str) -> None:
    host = machine(READY_AS_ROOT, answers=[THERE])
    (load,) = present(host, context(archived, name))
    assert load.words[-2:] == ["<", "/dev/null"]


def test_a_machine_that_builds_nothing_needs_no_builder(archived: Image) -> None:
    bare = replace(READY_AS_ROOT, programs=READY_AS_ROOT.programs - {"mmdebstrap"})
    assert sent(operations.prepare_machine, machine(bare, answers=[CONFIGURED]), context=context(archived)) == []
    (install,) = sent(operations.prepare_machine, machine(bare, answers=[CONFIGURED]), context=context())
    assert install.words[-1] == "mmdebstrap"


@pytest.mark.parametrize("name", ["@local", "db1"])
def test_an_archive_for_another_architecture_is_refused_before_it_is_sent(archived: Image, name: str) -> None:
    host = machine(READY_AS_ROOT, answers=[("podman image exists", Answer("arm64"))])
    (refused,) = present(host, context(archived, name))
    assert refused.refusal.startswith(f"{name}: {archived.archive} is for amd64, this machine is arm64\nHINT: ")


A, B = ImageState("sha256:aa"), ImageState("sha256:bb")


def test_what_is_held_somewhere_is_not_built_again_but_brought_from_there() -> None:
    image_inventory = Told(Image(), ImageState(), "db2", db1=A)
    host = machine(READY_AS_ROOT)
    assert made(host, context(name="db2"), image_inventory) == []
    staged_archive(A.id).write_bytes(b"saved")
    *_, load = present(host, context(name="db2"), image_inventory)
    assert load.script == commands.script("machine/load-image.sh")
    assert load.arguments[:2] == [A.id, TAG]


def test_the_first_machine_builds_and_the_others_wait_for_it() -> None:
    for name, builds in (("db1", 1), ("db2", 0)):
        image_inventory = Told(Image(), ImageState(), "db2", db1=ImageState())
        assert len(made(machine(READY_AS_ROOT), context(name=name), image_inventory)) == builds


def test_where_the_first_failed_the_next_builds_and_the_third_says_so() -> None:
    image_inventory = Told(Image(), ImageState(), "db3", failed="db1", db1=ImageState(), db2=ImageState())
    (build,) = present(machine(READY_AS_ROOT), context(name="db2"), image_inventory)
    assert build.script == commands.script("machine/build-image.sh")
    (refused,) = present(machine(READY_AS_ROOT), context(name="db3"), image_inventory)
    assert refused.refusal.startswith(f"db3: no machine before this one could build image {TAG}")


def test_an_image_that_another_machine_lacks_is_brought_to_the_control_machine_whole() -> None:
    image_inventory = Told(Image(), A, "db1", db2=ImageState())
    account = AccountFacts({TAG: replace(IMAGE, id=A.id)}, None)
    sending = images.make_images._inner(context=context(name="db1"), image_inventory=image_inventory)
    place = staged_archive(A.id)
    place.unlink(missing_ok=True)

    @operation()
    def downloaded() -> Generator[Any, None, None]:
        for command in sending:
            if isinstance(command, FileDownloadCommand):
                assert not place.exists()
                Path(str(command.dest)).write_bytes(b"saved")
            yield command

    prepare, save, download, remove, finish = sent(downloaded, machine(READY_AS_ROOT, account))
    assert "mkdir -p /var/cache/pgberth" in prepare.text
    assert "podman save --quiet --format docker-archive" in save.text
    assert save.text.endswith(f"> {download.src}")
    assert remove.text == f"rm -f {download.src}"
    assert not place.exists()
    finish.function(*finish.args)
    assert place.read_bytes() == b"saved"


@pytest.mark.parametrize("others", [{"db2": A}, {}], ids=["all have it", "nobody else wants it"])
def test_nothing_is_brought_where_nobody_lacks_it(others: dict[str, ImageState]) -> None:
    account, image_inventory = AccountFacts({TAG: replace(IMAGE, id=A.id)}, None), Told(Image(), A, "db1", "", **others)
    assert made(machine(READY_AS_ROOT, account), context(name="db1"), image_inventory) == []


def test_what_could_not_be_brought_is_refused() -> None:
    staged_archive(B.id).unlink(missing_ok=True)
    (refused,) = present(machine(READY_AS_ROOT), context(name="db2"), Told(Image(), ImageState(), "db2", db1=B))
    assert refused.refusal.startswith(f"db2: image {TAG} could not be brought here from db1; see above\nHINT: ")


OLD, NEW = "sha256:" + "01" * 32, "sha256:" + "02" * 32
TAGGED = Image(name="registry.example:5000/memory/postgres:18")


def pulled(have: str, image: Image, image_inventory: ImageInventory | None = None, name: str = "db2") -> list[Any]:
    """What is sent to a machine whose record and image are of that digest, "" for none."""
    account = AccountFacts({}, None, {image.tag: A.id}, {image.tag: (have,)}) if have else None
    image_inventory = image_inventory or Told(image, ImageState(A.id if have else "", have), name)
    host = machine(READY_AS_ROOT, account)
    return [*made(host, context(image, name), image_inventory), *present(host, context(image, name), image_inventory)]


def test_a_tag_is_asked_for_by_the_first_machine_alone() -> None:
    image_inventory = Told(TAGGED, ImageState(), "db2", db1=ImageState())
    asked, *_ = pulled("", TAGGED, image_inventory, "db1")
    assert asked.script == commands.script("machine/pull-image.sh")
    assert asked.arguments == ["db1", TAGGED.name, TAGGED.tag]
    assert made(machine(READY_AS_ROOT), context(TAGGED, "db2"), image_inventory) == []


def test_all_others_pull_what_it_was_by_digest() -> None:
    (pull,) = pulled("", TAGGED, Told(TAGGED, ImageState(), "db2", db1=ImageState("", OLD)))
    assert pull.arguments == ["db2", f"registry.example:5000/memory/postgres@{OLD}", TAGGED.tag]


def test_a_digest_of_the_inventory_counts_before_any_record() -> None:
    (pull,) = pulled(OLD, replace(TAGGED, digest=NEW))
    assert pull.arguments[1] == f"registry.example:5000/memory/postgres@{NEW}"


@pytest.mark.parametrize("image", [TAGGED, replace(TAGGED, digest=OLD)])
def test_what_is_there_by_its_digest_is_left_alone(image: Image) -> None:
    assert pulled(OLD, image) == []


def test_machines_that_recorded_different_digests_are_told_to_choose() -> None:
    (refused,) = pulled(NEW, TAGGED, Told(TAGGED, ImageState(A.id, NEW), "db2", db1=ImageState(B.id, OLD)))
    fact, hint = refused.refusal.split("\n")
    assert fact == f"db2: {TAGGED.name} is {NEW} here, and {OLD} on db1"
    assert f'Image(name="{TAGGED.name}", digest="...")' in hint


def test_a_tag_that_nobody_could_ask_for_is_refused() -> None:
    image_inventory = Told(TAGGED, ImageState(), "db2", failed="db1", db1=ImageState())
    (refused,) = present(machine(READY_AS_ROOT), context(TAGGED, "db2"), image_inventory)
    assert refused.refusal.startswith(f"db2: no machine could resolve {TAGGED.name} to a digest")


PULL = commands.script("machine/pull-image.sh")
BY_DIGEST = f"registry.example/memory/postgres@{OLD}"


def puller(tmp_path: Path, reference: str, *answers: tuple[str, str, int]) -> tuple[list[str], Any]:
    account = FakePrograms(tmp_path)
    account.answer("podman", *answers, ("info*", "amd64", 0), ("image inspect*", "amd64", 0))
    done = account.run(PULL, "db1", reference, TAGGED.tag)
    return [" ".join(call[:2]) for call in account.asked()], done


@pytest.mark.parametrize(
    ("reference", "there", "pulls"),
    [(TAGGED.name, 0, True), (TAGGED.name, 1, True), (BY_DIGEST, 1, True), (BY_DIGEST, 0, False)],
)
def test_only_a_digest_that_is_there_is_not_pulled(tmp_path: Path, reference: str, there: int, pulls: bool) -> None:
    asked, done = puller(tmp_path, reference, ("image exists*", "", there))
    assert done.returncode == 0
    assert ("pull --quiet" in asked) is pulls
    assert asked[-1] == f"tag {reference}"


def test_what_the_registry_does_not_hold_is_named(tmp_path: Path) -> None:
    missing = ("pull*", f"Trying to pull {BY_DIGEST}...\nError: reading manifest: manifest unknown", 125)
    asked, done = puller(tmp_path, BY_DIGEST, ("image exists*", "", 1), missing)
    assert (done.returncode, asked[-1]) == (1, "pull --quiet")
    fact, hint = done.stderr.splitlines()
    assert fact == f"db1: image {BY_DIGEST} cannot be pulled: Error: reading manifest: manifest unknown"
    assert hint.startswith("HINT: ")


def test_an_image_of_another_architecture_gets_no_tag_and_goes_again(tmp_path: Path) -> None:
    asked, done = puller(tmp_path, BY_DIGEST, ("image inspect*", "riscv64", 0))
    assert done.returncode == 1
    assert f"db1: image {BY_DIGEST} is for riscv64, this machine is amd64" in done.stderr
    assert asked[-1] == f"rmi {BY_DIGEST}"


def test_another_file_of_that_name_is_loaded(archived: Image) -> None:
    account = AccountFacts({archived.tag: IMAGE}, READY)
    (load,) = present(machine(READY_AS_ROOT, account), context(archived))
    assert load.arguments[0] == id_of(archived) != IMAGE.id


LOAD = commands.script("machine/load-image.sh")


def loaded(tmp_path: Path, *answers: tuple[str, str, int]) -> tuple[FakePrograms, Any]:
    account = FakePrograms(tmp_path)
    account.answer("podman", *answers)
    return account, account.run(LOAD, IMAGE.id, TAG, "/srv/server.tar")


def test_an_image_that_is_there_is_tagged_and_nothing_is_read(tmp_path: Path) -> None:
    account, done = loaded(tmp_path)
    assert done.returncode == 0
    assert [call[0] for call in account.asked()] == ["image", "tag"]
    assert account.asked()[-1] == ["tag", IMAGE.id, TAG]


def test_an_archive_that_became_another_image_gets_no_tag(tmp_path: Path) -> None:
    account, done = loaded(tmp_path, ("image exists*", "", 1))
    assert done.returncode == 1
    assert f"archive /srv/server.tar was loaded, but did not give the image {IMAGE.id}" in done.stderr
    assert [call[0] for call in account.asked()] == ["image", "load", "image"]


ASKED = "uid=999\ngid=999\nbindir=/usr/lib/postgresql/18/bin\npostgres=18.1\npgvector=0.8.5"
STRANGE = AccountFacts({}, READY, {TAG: "sha256:99"})


def inspected(host: FakeHost) -> dict[str, BuiltImage]:
    """Raises Refused."""
    with on(host):
        return images.inspect_images(context(), READY_AS_ROOT)


def test_an_image_without_our_labels_is_asked_what_it_is() -> None:
    host = machine(READY_AS_ROOT, STRANGE, answers=[("--read-only --user 0:0", Answer(ASKED))])
    desired = BuiltImage("sha256:99", 999, 999, "/usr/lib/postgresql/18/bin", "18.1", "0.8.5", "")
    assert inspected(host) == {TAG: desired}
    assert host.asked[-1].arguments == ["sha256:99"]


def test_images_with_labels_of_ours_are_not_asked() -> None:
    host = machine(READY_AS_ROOT, HAS_ALL)
    assert inspected(host) == {TAG: IMAGE}
    assert host.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(stderr="it has no program postgres", done=False),
        Answer(ASKED.replace("pgvector=0.8.5", "")),
        Answer(ASKED.replace("uid=999", "uid=")),
        Answer(ASKED.replace("postgres=18.1", "postgres=")),
        Answer(""),
    ],
)
def test_an_image_without_a_server_or_pgvector_is_refused(answer: Answer) -> None:
    with pytest.raises(Refused) as refused:
        inspected(machine(READY_AS_ROOT, STRANGE, answers=[("--user 0:0", answer)]))
    assert f"@local: image {TAG} has no PostgreSQL with pgvector" in str(refused.value)


def test_what_was_found_out_about_an_image_is_remembered_by_its_id() -> None:
    strange = replace(IMAGE, uid=999, gid=999, recipe="")
    machine_profile = replace(READY, images={"localhost/other:1": strange})
    told = f'{{"tag": "{TAG}", "id": "{IMAGE.id}", "labels": null}}'
    found = AccountObservation().process([told, machine_profile.to_json().replace("\n", " ")])
    assert (found.images, found.unknown) == ({TAG: strange}, {})
