/* Membership and fencing: R1, R2 and the table of protocol.md, section 0. */
#include "tests/conform/broker_suite_case.h"

#include "config/base/clock.h"

#include <unistd.h>

void offsets_are_set_and_removed(void **state)
{
    const char *name = new_topic(3, NULL), *group = new_name("group");
    struct offset_commit o[3] = {{0, 7, ""}, {2, 0, ""}}, is[3];
    uint32_t members;

    (void)state;
    OK(t->group_members(b, group, &members, &err)); /* there is no such group */
    assert_int_equal(members, 0);
    o[0].partition = 1;
    o[0].offset = -1001;
    OK(t->offsets_set(b, group, name, o, 1, &err)); /* nothing there to be removed */
    o[0] = (struct offset_commit){0, 7, ""};
    OK(t->offsets_set(b, group, name, o, 2, &err));
    OK(t->committed(b, group, name, is, 3, &err));
    assert_int_equal(is[0].offset, 7);
    assert_string_equal(is[0].metadata, "");
    assert_int_equal(is[1].offset, -1001);
    assert_int_equal(is[2].offset, 0);
    for (int32_t q = 0; q < 3; q++)
        o[q] = (struct offset_commit){q, q == 1 ? 5 : -1001, ""};
    OK(t->offsets_set(b, group, name, o, 3, &err));
    reopen_broker();
    OK(t->committed(b, group, name, is, 3, &err));
    assert_int_equal(is[0].offset, -1001);
    assert_int_equal(is[1].offset, 5);
    assert_int_equal(is[2].offset, -1001);
    OK(t->group_members(b, group, &members, &err));
    assert_int_equal(members, 0);
}

void member_is_assigned_all_partitions(void **state)
{
    const char *name = new_topic(4, NULL);
    struct got g = {.c = open_member(name, new_name("group"), new_name("member"))};
    struct start s[4];

    (void)state;
    fill(name, 2, 3);
    until_event(&g, GROUP_ASSIGNED);
    assert_int_equal(g.owned, 4);
    for (int32_t q = 0; q < 4; q++) {
        assert_int_equal(g.own[q].partition, q);
        assert_int_equal(g.own[q].topic, 0);
        s[q] = (struct start){q, 0, 0};
    }
    quiet(&g, 300);
    assert_int_equal(g.n + g.eofs, 0); /* nothing is read before it is assigned */
    assert_int_equal(g.event_times, 1);
    OK(t->consumer_assign(g.c, s, 4, &err));
    until_eof(&g, 4);
    assert_int_equal(g.n, 3);
}

void static_member_comes_back(void **state)
{
    const char *name = new_topic(3, NULL), *group = new_name("group"),
               *instance = new_name("member");
    struct got g = {.c = open_member(name, group, instance)};
    int64_t began;

    (void)state;
    until_event(&g, GROUP_ASSIGNED);
    assert_int_equal(g.owned, 3);
    close_consumer(g.c);
    began = clock_mono_us();
    g = (struct got){.c = open_member(name, group, instance)};
    until_event(&g, GROUP_ASSIGNED);
    assert_int_equal(g.owned, 3);
    assert_true(clock_mono_us() - began < 15000000); /* not after a session timeout */
}

/* Its end as of now; it may have been told with the last records. */
static void until_end(struct got *g, const char *topic)
{
    int64_t low, high;

    OK(t->watermarks(b, topic, 0, false, &low, &high, &err));
    until_eof_at(g, 0, high);
}

void same_instance_fences_the_older(void **state)
{
    const char *name = new_topic(2, NULL), *group = new_name("group"),
               *instance = new_name("member");
    struct got old = {.c = open_member(name, group, instance)}, new = {0}, seen = {0};
    void *p = open_producer(new_name("id"), name);
    enum st st;

    (void)state;
    until_event(&old, GROUP_ASSIGNED);
    OK(publish_to_offsets(p, old.c, name, 1, "before"));
    OK(t->producer_commit(p, &err));
    new.c = open_member(name, group, instance);
    until_event(&new, GROUP_ASSIGNED);
    assert_int_equal(new.owned, 2);
    st = publish_to_offsets(p, old.c, name, 2, "zombie");
    assert_true(st == ST_REVOKED || st == ST_FATAL);
    assert_true(*err.text != 0);
    OK(t->producer_abort(p, &err));
    until_event(&old, GROUP_FENCED);
    OK(publish_to_offsets(p, new.c, name, 3, "after"));
    OK(t->producer_commit(p, &err));
    seen.c = open_reader(name, false);
    assign_all(seen.c, 1, 0);
    until_records(&seen, 2);
    until_end(&seen, name);
    assert_int_equal(seen.n, 2);
    assert_string_equal(seen.r[1].value, "after");
}

static bool owns(const struct got *g, uint32_t n)
{
    return g->event == GROUP_ASSIGNED && g->owned == n;
}

/* Polls and gives up what is revoked. */
static void follow(struct got *g)
{
    uint32_t before = g->event_times;

    poll_once(g, 50);
    if (g->event_times != before && (g->event == GROUP_REVOKED || g->event == GROUP_LOST))
        OK(t->consumer_assign(g->c, NULL, 0, &err));
}

/* Until each of them owns so many; two may be NULL. */
static void until_owned(struct got *one, uint32_t n_one, struct got *two, uint32_t n_two)
{
    int64_t stop = clock_mono_us() + (int64_t)CASE_MS * 1000;

    while (!owns(one, n_one) || (two && !owns(two, n_two))) {
        follow(one);
        if (two)
            follow(two);
        if (clock_mono_us() > stop)
            fail_msg("members own %u and %u partitions", one->owned, two ? two->owned : 0);
    }
}

void members_share_and_hand_over(void **state)
{
    const char *name = new_topic(4, NULL), *group = new_name("group");
    struct got one = {.c = open_member(name, group, new_name("a-member"))}, two = {0};
    void *p = open_producer(new_name("id"), name);

    (void)state;
    if (!fixture->members)
        skip();
    until_event(&one, GROUP_ASSIGNED);
    assert_int_equal(one.owned, 4);
    assign_all(one.c, 4, 0);
    two.c = open_member(name, group, new_name("b-member"));
    for (int i = 0; one.event != GROUP_REVOKED && i < 300; i++) {
        poll_once(&two, 10);
        poll_once(&one, 50);
    }
    assert_int_equal(one.event, GROUP_REVOKED);
    assert_int_equal(one.owned, 4);
    OK(publish_to_offsets(p, one.c, name, 1,
                          "last")); /* the last publish before the hand-over works */
    OK(t->producer_commit(p, &err));
    OK(t->consumer_assign(one.c, NULL, 0, &err));
    until_owned(&one, 2, &two, 2);
    assert_int_not_equal(one.own[0].partition, two.own[0].partition);
    OK(publish_to_offsets(p, one.c, name, 2, "again"));
    OK(t->producer_commit(p, &err));
}

/* Two members share; the second leaves and comes back. Time until the first has all, or a
 * session's: a machine may be busy. */
static int64_t leave_once(struct got *one, const char *name, const char *group,
                          const char *instance)
{
    struct got two = {.c = open_member(name, group, instance)};
    int64_t began;

    until_owned(one, 2, &two, 2);
    for (uint32_t i = 0; i < 2; i++)
        two.own[i].offset = 0;
    OK(t->consumer_assign(two.c, two.own, 2, &err));
    began = clock_mono_us();
    OK(t->consumer_leave(two.c, CASE_MS, &err));
    close_consumer(two.c);
    until_owned(one, 4, NULL, 0);
    return clock_mono_us() - began;
}

void who_leaves_hands_over_at_once(void **state)
{
    const char *name = new_topic(4, NULL), *group = new_name("group"), *who = new_name("b-member");
    struct got one = {.c = open_member(name, group, new_name("a-member"))};
    int64_t took = INT64_MAX;

    (void)state;
    if (!fixture->members)
        skip();
    fill(name, 3, 1000);
    until_event(&one, GROUP_ASSIGNED);
    for (int i = 0; i < 3 && took > 1500000; i++)
        took = leave_once(&one, name, group, who);
    assert_true(took <= 1500000); /* a session takes 2 s */
}

void a_lonely_member_leaves(void **state)
{
    const char *name = new_topic(2, NULL), *group = new_name("group"), *who = new_name("member");
    void *none = open_member(name, new_name("group"), new_name("member"));
    struct got g = {.c = open_member(name, group, who)};

    (void)state;
    OK(t->consumer_leave(none, CASE_MS, &err)); /* before it was assigned anything */
    fill(name, 0, 1000);
    until_event(&g, GROUP_ASSIGNED);
    assign_all(g.c, 2, 0);
    until_records(&g, 1);
    OK(t->consumer_leave(g.c, CASE_MS, &err));
    close_consumer(g.c);
    g = (struct got){.c = open_member(name, group, who)};
    until_event(&g, GROUP_ASSIGNED);
    assert_int_equal(g.owned, 2);
}

/* A rebalance that began before the member was put out is told as such: it is the broker that
 * refuses then. */
static void follow_to_loss(struct got *g)
{
    for (int i = 0; g->event != GROUP_LOST && g->event != GROUP_REVOKED && i < 300; i++)
        poll_once(g, 100);
    assert_true(g->event == GROUP_LOST || g->event == GROUP_REVOKED);
}

/* A member that was put out while it did not poll, and its partitions moved: its captured
 * membership does not let it publish, neither before nor after it learns of it and joins again. */
void outdated_membership_cannot_publish(void **state)
{
    const char *name = new_topic(2, NULL), *group = new_name("group");
    struct got zombie = {.c = open_member(name, group, new_name("a-member"))}, heir = {0},
               seen = {0};
    void *p = open_producer(new_name("id"), name), *q = open_producer(new_name("id"), name);

    (void)state;
    if (!fixture->members)
        skip();
    until_event(&zombie, GROUP_ASSIGNED);
    assign_all(zombie.c, 2, 0);
    heir.c = open_member(name, group, new_name("b-member"));
    until_owned(&heir, 2, NULL, 0);
    OK(publish_to_offsets(q, heir.c, name, 10, "heir"));
    OK(t->producer_commit(q, &err));
    EXPECT(ST_REVOKED, publish_to_offsets(p, zombie.c, name, 5, "zombie"));
    OK(t->producer_abort(p, &err));
    follow_to_loss(&zombie);
    EXPECT(ST_REVOKED, publish_to_offsets(p, zombie.c, name, 5, "zombie"));
    OK(t->producer_abort(p, &err));
    OK(t->consumer_assign(zombie.c, NULL, 0, &err));
    until_owned(&zombie, 1, &heir, 1);
    OK(publish_to_offsets(p, zombie.c, name, 11, "rejoined"));
    OK(t->producer_commit(p, &err));
    seen.c = open_reader(name, false);
    assign_all(seen.c, 1, 0);
    until_records(&seen, 2);
    until_end(&seen, name);
    assert_int_equal(seen.n, 2);
    assert_string_equal(seen.r[0].value, "heir");
    assert_string_equal(seen.r[1].value, "rejoined");
}

void silent_member_loses_its_partitions(void **state)
{
    const char *name = new_topic(2, NULL);
    struct got g = {.c = open_member(name, new_name("group"), new_name("member"))};

    (void)state;
    if (!fixture->members)
        skip();
    until_event(&g, GROUP_ASSIGNED);
    assign_all(g.c, 2, 0);
    sleep(6);
    until_event(&g, GROUP_LOST);
    OK(t->consumer_assign(g.c, NULL, 0, &err));
    until_event(&g, GROUP_ASSIGNED); /* and joins again by itself */
    assert_int_equal(g.owned, 2);
}

/* The group moves on twice, away from the topic and back, while the member learns, say. What it is
 * told last counts, and it may act on that. (Groups of the embedded broker move with their members
 * alone.) */
void topic_made_anew_between_two_polls(void **state)
{
    struct topic_spec spec = {new_topic(1, NULL), 2, NULL};
    struct got g = {.c = open_member(spec.name, new_name("group"), new_name("member"))};

    (void)state;
    if (!fixture->members || !t->silent)
        skip();
    until_event(&g, GROUP_ASSIGNED);
    assign_all(g.c, 1, 0);
    OK(t->topic_delete(b, spec.name, &err));
    usleep(800000);
    OK(t->topic_create(b, &spec, &err));
    usleep(1200000);
    until_owned(&g, 2, NULL, 0);
    assign_all(g.c, 2, 0);
    fill(spec.name, 1, 3);
    until_eof_at(&g, 1, 3);
    assert_int_equal(g.n, 3);
}

void members_are_counted_and_keep_their_offsets(void **state)
{
    const char *name = new_topic(2, NULL), *group = new_name("group");
    struct got g = {.c = open_member(name, group, new_name("member"))};
    struct offset_commit o = {0, 3, ""};
    int64_t stop;
    uint32_t n = 1;

    (void)state;
    if (!fixture->members)
        skip();
    until_event(&g, GROUP_ASSIGNED);
    OK(t->group_members(b, group, &n, &err));
    assert_int_equal(n, 1);
    EXPECT(ST_BAD_CONFIG, t->offsets_set(b, group, name, &o, 1, &err));
    o.offset = -1001;
    EXPECT(ST_BAD_CONFIG, t->offsets_set(b, group, name, &o, 1, &err));
    close_consumer(g.c); /* it lingers for its session timeout of 2 s */
    OK(t->group_members(b, group, &n, &err));
    assert_int_equal(n, 1);
    for (stop = clock_mono_us() + (int64_t)CASE_MS * 1000; n && clock_mono_us() < stop;) {
        usleep(100000);
        OK(t->group_members(b, group, &n, &err));
    }
    assert_int_equal(n, 0);
    OK(t->offsets_set(b, group, name, &o, 1, &err));
}
