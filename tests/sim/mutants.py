#!/usr/bin/env python3
"""mutants.py FOLDER: writes each mutant's sources into FOLDER/NAME and prints a line "NAME SEEDS
SOURCE..." for it. A mutant is the product with one promise broken; the simulation has to fail in
one of so many seeds (CMakeLists.txt makes a test of each)."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# name: seeds, [(source, text that occurs in it once, what stands there instead)]
MUTANTS = {
    # The broker takes offsets from anybody, as from a consumer without a member id (protocol §0).
    "no_fence": (300, [
        ("consumer/broker_local_group.c",
         "return m->captured_id && find(m->group, m->captured_id) &&", "return true ||")]),
    # Rule R3 turned around, and a broker that lets it pass.
    "offsets_first": (300, [
        ("consumer/publish.c", "#ifdef OFFSETS_FIRST", "#if 1"),
        ("consumer/publish.c", "#ifndef OFFSETS_FIRST", "#if 0"),
        ("consumer/broker_local_producer.c", "(p->in_txn && !p->offsets_added)", "p->in_txn"),
        ("consumer/broker_local_producer.c", "    CHECK(!p->waiting); /* R3 */\n", "")]),
    # Rule R4: a restore does not wait for what a former owner may still commit.
    "no_wait": (300, [
        ("consumer/slot_reader.c", "r->topic, s.partition, true, &low, &g.high",
         "r->topic, s.partition, false, &low, &g.high")]),
    # Of the chunks that changed, one in a while is not sent.
    "lost_chunk": (300, [
        ("consumer/publish.c", "|| !p->m.chunk[j].bytes)", "|| p->m.seq % 16 == 3)")]),
    # After an abort the chunks count as sent.
    "clean_after_abort": (300, [
        ("consumer/publish.c", "    why = *w->err;\n",
         "    why = *w->err;\n    for (uint32_t i = 0; i < w->partitions; i++)\n"
         "        if (w->part[i].unpublished)\n            *w->part[i].unpublished = 0;\n")]),
    # After a restore the record that is only compared is learned once more.
    "counted_twice": (300, [
        ("consumer/consume.c", "if (known_one)", "if (known_one && p->phase != PHASE_RUNNING)"),
        ("consumer/consume.c", "else if (r->offset >= p->next)",
         "else if (r->offset >= p->next - 1)")]),
    # A block that is dropped is not read again.
    "skipped": (300, [
        ("consumer/restore.c", "p->next = p->m.pos.offset;",
         "p->next = p->m.pos.offset + (p->m.pos.offset > 0);")]),
    # The topic is not compared with what was learned.
    "no_resume_check": (300, [
        ("consumer/consume.c",
         "if (r->offset <= p->m.last_offset && record_fingerprint(r) != p->m.last_fingerprint)",
         "if (false)")]),
    # Of local state and slot the local one wins, whatever its position.
    "local_first": (300, [
        ("consumer/restore.c", "return c ? c > 0 :", "return c ? true :")]),
    # Dead letters leave again after a restart.
    "letters_twice": (300, [
        ("consumer/partition.c", "    checkpoint_dead_published(w->cp, p->p, p->sent);\n", "")]),
    # A round that is not published yet counts.
    "hidden_round": (300, [
        ("consumer/merge.c", "return !p->unsent && !p->moved;", "return p->p < PARTITIONS_MAX;")]),
    # One round too far.
    "too_far": (300, [
        ("consumer/merge.c", "+ n < round)", "+ n + 1 < round)")]),
    # A slot has one place where it needs two.
    "one_place": (300, [
        ("consumer/merge.c", "(p->m.round + (partition_waits(p) ? 0 : 1)) & 1",
         "p->p / PARTITIONS_MAX")]),
}


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, (seeds, changes) in MUTANTS.items():
        text = {}
        for source, old, new in changes:
            was = text.get(source) or (ROOT / source).read_text(encoding="utf-8")
            if was.count(old) != 1:
                sys.exit(f"mutant {name}: {source} has {was.count(old)} times {old!r}")
            text[source] = was.replace(old, new)
        out = []
        for source, mutated in text.items():
            path = folder / name / pathlib.Path(source).name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text(encoding="utf-8") != mutated:
                path.write_text(mutated, encoding="utf-8")
            out.append(str(path))
        print(name, seeds, *out)


main()
