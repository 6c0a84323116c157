/* Two shards, what goes wrong with them, and the rules that keep every promise.
 *
 *   client ──▶ daemon 0 ─┬─ link ─▶ shard 0: the session's slot    nodes 0, 1
 *   member ──▶ daemon 1 ─┴─ link ─▶ shard 1: the room's slot       nodes 2, 3
 *
 * Rules and their names: docs/adr/0022 to 0027. What is modelled and what is not, and how to
 * read a trace: docs/model.md. `python -m lab.model` walks every state.
 *
 *   -DLINES | -DPOSTS | -DSLOTS   what is played: a session's lines, a room's messages, what is
 *                       told of a loss when slots move
 *   -DLEAVES            who joins a room leaves it again
 *   -DBEYOND            the room's shard may lose data, and a daemon die: it must be told
 *   -DBEYOND_SESSION    the session's shard may lose data
 *   -DWITHOUT_…         one rule left out
 *
 * One process, because the order of steps is all that counts: each `::` of the loop at the end
 * is something that may happen next, whole.
 */

/* What must hold; `words` end the trace of a run in which it does not. */
#define PROMISE(holds, words) \
  if \
  :: holds \
  :: else -> printf(words); assert(false) \
  fi

#define OTHER(n) ((n) ^ 1) /* of the two nodes of a shard */
#define SHARD(n) ((n) / 2)
#define LINK(d, h) (2 * (d) + (h)) /* daemon d's link to shard h */
#define NOBODY 9

/* A node. Cut off, it goes on as it was, for those who are cut off with it. Dead, its disk is too. */
#define UP 0
#define CUT 1
#define DEAD 2

/* A batch, by how far it has come. */
#define IDLE 0    /* there is none */
#define SENT 1    /* on its way to the node */
#define RUN 2     /* carried out by the node */
#define HELD 3    /* and its replica has it */
#define REFUSED 4 /* MOVED or READONLY: it was not carried out */
#define DOUBT 5   /* its link broke: nobody knows */

/* What comes of it. */
#define OK 1
#define TAKEN 2  /* another owner's */
#define ABSENT 3 /* nothing is there */

#ifdef WITHOUT_S9_FORMER
#define WITHOUT_S9_KEYS /* which would make up for it */
#endif

#ifndef LINES_MAX
#define LINES_MAX 2
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef HICCUPS
#define HICCUPS 1
#endif
#ifndef MOVES
#define MOVES 1
#endif

#ifndef SLOTS
typedef Node {
  unsigned up : 2;
  bool master; /* it believes so */
  bool joined; /* it has copied its master since it came back */
  bool slot; /* the slot that is played is here: */
#ifdef LINES
  unsigned owner : 2; /*   the daemon that owns the session, plus 1 */
  unsigned key : 3;   /*   which key its state is under */
  unsigned seq : 2;   /*   its last line */
#else
  unsigned length : 2;  /*   the room's messages */
  byte message[2];      /*   their ids: 1 of the session that is taken over, 3 of the member */
  unsigned joined_as : 3; /* which owner of the session has joined last */
#ifdef LEAVES
  bool left; /*   and has left */
#endif
  unsigned generation : 2;
#endif
  byte marker[2] /* MARK(d, h) */
}

typedef Batch {
  unsigned at : 3; /* IDLE … DOUBT */
  unsigned node : 2;
  unsigned op : 3;
  unsigned value : 2;
  unsigned id : 2;
  unsigned generation : 2;
  unsigned key : 3;
  bool rekey; /* sent again while a former link may live: its state goes under a new key */
  unsigned number : 4; /* what its marker says */
  unsigned result : 2;
  bool late; /* its line was sent by the client after another daemon's WELCOME */
  bool latest /* former links: no link of this daemon to this shard came after it */
}

Node node[5]; /* the last is a copy that was laid by: see BEYOND */
byte chosen[2]; /* whom the majority calls the master of a shard */
byte home;      /* the shard where the slot is */

byte link[4]; /* the node that a link leads to */
Batch batch[8]; /* on its way on link 0 to 3; bytes of a former link, which may still arrive */
#define OLD(l) ((l) + 4)
byte route[2]; /* where a daemon believes the slot to be */
byte number[2], known[2]; /* of markers: the last sent, the last acknowledged */
byte where, at;
byte faults = FAULTS, moves = MOVES, hiccups = HICCUPS;
bool welcomed; /* a client was told that it owns the session, on daemon 1 */
bool lost;     /* what was answered is really gone */

#ifdef LINES
/* A session's lines. Daemon 0 owns it and is sent line 1, 2, …; at some moment the client resumes
 * on daemon 1. */

#define LINE 1   /* ECHO: the state becomes the line with this number */
#define RESUME 2 /* HELLO <token>: become the owner, read the state */

byte key0 = 1;
byte next_line = 1, answered;
bool closed, resumed;

#define FINISHED (closed && welcomed)
#define HAS_MARKER(d) (d == 0)
#define COMPARES(d) (d == 0 && !closed)
#define MUST_RAISE(d) false
/* Daemon 0's marker of shard 0 is in the session's slot, that of shard 1 elsewhere. */
#define MARK(d, h) (h)
#define MARKER_IS_AT(h) ((h) == 0 -> chosen[home] : chosen[h])
#define LACKS(n) (!node[n].slot || node[n].seq < answered)
/* Daemon 0 keeps a link to each shard, daemon 1 makes one when it has something to say. */
#define NEEDED(d, h) (d == 0 && !closed && (h == 0 || route[0] == h || batch[LINK(0, h)].at != IDLE) || \
                      d == 1 && route[1] == h && (!resumed || batch[LINK(1, h)].at != IDLE))

inline move(from, to) {
  node[to].slot = node[from].slot;
  node[to].owner = node[from].owner;
  node[to].key = node[from].key;
  node[to].seq = node[from].seq;
  node[to].marker[0] = node[from].marker[0]
}

inline copy(to, from) {
  move(from, to);
  node[to].marker[1] = node[from].marker[1]
}

inline empty_slot(n) {
  node[n].slot = 0; node[n].owner = 0; node[n].key = 0; node[n].seq = 0; node[n].marker[0] = 0
}

inline begin(n) {
  node[n].slot = 1; node[n].owner = 1; node[n].key = 1
}

inline say(b) {
  if
  :: batch[b].op == LINE -> printf("line %d\n", batch[b].id)
  :: else -> printf("HELLO, to take the session over\n")
  fi
}

inline come_to(b) {
  if
  :: batch[b].at == REFUSED -> printf("    refused: MOVED or READONLY\n")
  :: batch[b].at == RUN && batch[b].result == TAKEN -> printf("    nil: the state is under another key\n")
  :: batch[b].at == RUN && batch[b].result == ABSENT -> printf("    nil: there is no such session\n")
  :: else -> printf("    carried out\n")
  fi
}

inline ask(b, d) {
  if
  :: !node[where].slot -> batch[b].result = ABSENT
  :: node[where].slot && batch[b].op == RESUME ->
    node[where].owner = d + 1; batch[b].value = node[where].seq; batch[b].result = OK
  :: node[where].slot && batch[b].op == LINE ->
    if
    :: node[where].owner == d + 1 &&
       (node[where].key == batch[b].key || batch[b].rekey && node[where].key < batch[b].key) ->
      batch[b].result = OK; node[where].key = batch[b].key; node[where].seq = batch[b].id
    :: else -> batch[b].result = TAKEN
    fi
  fi
}

inline new_key(l) {
  key0++; batch[l].key = key0; batch[l].rekey = 1
}

inline found_lost(d) {
  printf("    daemon 0: ERR rolled-back\n");
  PROMISE(lost, "BROKEN: nobody is told of a loss that is none\n");
  closed = 1
}

inline answer(l, d) {
  if
  :: batch[l].op == RESUME && batch[l].result == OK ->
    printf("daemon 1: WELCOME, the store has line %d, line %d was answered\n", batch[l].value, answered);
    PROMISE(batch[l].value >= answered || lost, "BROKEN: an answered line survives\n");
    welcomed = 1
  :: batch[l].op == RESUME && batch[l].result == ABSENT ->
    printf("daemon 1: ERR unknown-session\n");
    PROMISE(lost, "BROKEN: an answered line survives\n")
  :: batch[l].op == LINE && !closed && batch[l].result == OK ->
    printf("daemon 0 answers line %d\n", batch[l].id);
    PROMISE(!batch[l].late, "BROKEN: no answer to what was sent after the takeover\n");
    if
    :: batch[l].id > answered -> answered = batch[l].id
    :: else
    fi
  :: batch[l].op == LINE && !closed && batch[l].result == TAKEN ->
    printf("daemon 0: ERR taken-over\n");
    PROMISE(resumed, "BROKEN: nobody is told so of a session that nobody took\n");
    closed = 1
  :: batch[l].op == LINE && !closed && batch[l].result == ABSENT ->
#ifdef WITHOUT_S11_ARRIVAL
    printf("daemon 0: ERR unknown-session, of a session that never ended\n");
    PROMISE(false, "BROKEN: a loss is told as one\n")
#else
    found_lost(0)
#endif
  :: else
  fi
}
#endif

#ifdef POSTS
/* A room's messages. The slot is the room's; the session's shard is one store that answers as the
 * lines have shown. Its client is in the room on daemon 0 and says message 1; at some moment it
 * resumes on daemon 1, joins there, and says message 1 again if that was not answered. A member
 * listens on daemon 1, and says message 3. */

#define POST 1
#define JOIN 2
#define READ 3
#define PUBLISH 4
#define LEAVE 5
#define MEMBER 7 /* the member's own session, which nobody takes */

byte owner = 1, generation_there; /* the session's record: 4 * generation + epoch */
byte mine;      /* as which owner daemon 1 has the session; 0: it has not */
byte confirmed; /* daemon 0 asked whether it is the owner: 1 asked, 2 it is, 3 it is not */
bool said, joining, joined, says, member_says; /* asked for */
bool posted, answered, answered_member, told_joined;
bool late;
byte to_publish[2], id_to_publish[2], generation_of[2]; /* of the post */

byte subscribed, position, heard[2], history; /* of the room on daemon 1 */
byte page_of[2], asked_at; /* the page on its way; where the member was when it was asked for */
bool must_read, told, dead, laid_by, rolled;
byte seen; /* the generation that daemon 0 knows */
byte must_raise[2]; /* to this generation, until a batch after it is acknowledged */

#define FINISHED false
#define HAS_MARKER(d) true
#ifdef WITHOUT_S9_COMPARE
#define COMPARES(d) false
#else
#define COMPARES(d) (d == 1 || !dead)
#endif
#define MUST_RAISE(d) (must_raise[d] != 0)
#define MARK(d, h) (d)
#define MARKER_IS_AT(h) chosen[home]
#define HAS(n, i) (node[n].length > 0 && node[n].message[0] == (i) || node[n].length > 1 && node[n].message[1] == (i))
#define DIFFERS(n, i) (position > (i) && (node[n].length <= (i) || node[n].message[i] != heard[i]))
#define LACKS(n) (!node[n].slot || answered && !HAS(n, 1) || answered_member && !HAS(n, 3) || \
                  DIFFERS(n, 0) || DIFFERS(n, 1) || node[n].marker[0] < known[0] || node[n].marker[1] < known[1])
#define NEEDED(d, h) ((d == 1 || !dead) && (route[d] == h || batch[LINK(d, h)].at != IDLE))

inline move(from, to) {
  node[to].slot = node[from].slot;
  node[to].length = node[from].length;
  node[to].message[0] = node[from].message[0];
  node[to].message[1] = node[from].message[1];
  node[to].joined_as = node[from].joined_as;
#ifdef LEAVES
  node[to].left = node[from].left;
#endif
#ifndef WITHOUT_S11_GENERATION
  node[to].generation = node[from].generation;
#endif
  node[to].marker[0] = node[from].marker[0];
  node[to].marker[1] = node[from].marker[1]
}

inline copy(to, from) {
  move(from, to);
  node[to].generation = node[from].generation
}

inline empty_slot(n) {
  node[n].slot = 0; node[n].length = 0; node[n].message[0] = 0; node[n].message[1] = 0;
  node[n].joined_as = 0; node[n].generation = 0; node[n].marker[0] = 0; node[n].marker[1] = 0
}

#ifdef LEAVES
#define FIRST_OWNER 0
#define LEFT(n) node[n].left
bool joining0, joined0, leaving; /* of daemon 0; daemon 1 */
#else
#define FIRST_OWNER 1
#define LEFT(n) false
#define joined0 true
#endif

inline begin(n) {
  node[n].slot = 1; node[n].joined_as = FIRST_OWNER
}

inline say(b) {
  if
  :: batch[b].op == POST -> printf("post message %d\n", batch[b].id)
  :: batch[b].op == JOIN -> printf("join as owner %d\n", batch[b].key)
  :: batch[b].op == LEAVE -> printf("leave, as owner %d\n", batch[b].key)
  :: batch[b].op == READ -> printf("read the room\n")
  :: else -> printf("publish message %d at offset %d\n", batch[b].id, batch[b].value)
  fi
}

inline come_to(b) {
  if
  :: batch[b].at == REFUSED -> printf("    refused: MOVED or READONLY\n")
  :: batch[b].at == RUN && batch[b].result == TAKEN -> printf("    refused: another owner has joined\n")
  :: batch[b].at == RUN && batch[b].op == POST -> printf("    carried out, offset %d\n", batch[b].value)
  :: else -> printf("    carried out\n")
  fi
}

/* A publication reaches daemon 1, if it listens there. */
inline publish(b, d) {
  if
  :: subscribed == where || subscribed != NOBODY && SHARD(subscribed) == SHARD(where) && \
     node[subscribed].up == UP && node[where].up == UP ->
    if
    :: generation_of[d] != history || batch[b].value > position + 1 -> must_read = 1
    :: generation_of[d] == history && batch[b].value == position + 1 ->
      printf("    daemon 1 gives the member message %d at offset %d\n", batch[b].id, batch[b].value);
      heard[position] = batch[b].id; position++;
      PROMISE(position < 2 || heard[0] != heard[1], "BROKEN: no message is given twice\n")
    :: else
    fi
  :: else
  fi
}

/* The id is looked for before the owner: a post that is there is published by whoever finds it so. */
#ifdef WITHOUT_S8_REFUSED
#define FENCED(b) true
#else
#define FENCED(b) !HAS(where, batch[b].id)
#endif
inline ask(b, d) {
  batch[b].generation = node[where].generation;
  batch[b].result = OK;
  if
  :: batch[b].op == POST ->
    if
#ifndef WITHOUT_S6_FENCE
    :: batch[b].key != MEMBER && (batch[b].key != node[where].joined_as || LEFT(where)) && FENCED(b) ->
      batch[b].result = TAKEN
#endif
    :: node[where].length > 0 && node[where].message[0] == batch[b].id -> batch[b].value = 1
    :: node[where].length > 1 && node[where].message[1] == batch[b].id -> batch[b].value = 2
    :: else ->
      if
      :: told_joined && batch[b].key == 1 && where == chosen[home] ->
        printf("    the earlier owner's message, after JOINED\n");
        PROMISE(lost, "BROKEN: nothing of an earlier owner after the new one's JOINED\n")
      :: else
      fi;
      node[where].message[node[where].length] = batch[b].id;
      node[where].length++;
      batch[b].value = node[where].length;
#ifdef WITHOUT_S8
      generation_of[d] = batch[b].generation; publish(b, d)
#endif
    fi
  :: batch[b].op == JOIN ->
    if
#ifdef WITHOUT_S6_GENERATION
    :: batch[b].key % 4 > node[where].joined_as % 4 || batch[b].key == node[where].joined_as ->
#else
    :: batch[b].key >= node[where].joined_as ->
#endif
#ifdef LEAVES
      node[where].left = 0;
#endif
      node[where].joined_as = batch[b].key
    :: else -> batch[b].result = TAKEN
    fi
#ifdef LEAVES
  :: batch[b].op == LEAVE ->
#ifdef S6_LEAVE_AS_SAID
    node[where].joined_as = 0 /* the entry is taken along */
#else
    node[where].left = 1 /* nobody posts, and no earlier owner joins */
#endif
#endif
  :: batch[b].op == READ ->
    batch[b].value = node[where].length;
    if
    :: b < 4 -> page_of[0] = node[where].message[0]; page_of[1] = node[where].message[1]
    :: else
    fi
  :: batch[b].op == PUBLISH -> publish(b, d)
  fi
}

inline new_key(l) {
  skip /* a post that is there has its id */
}

/* What was acknowledged is not there: whoever finds it raises the generation of the slot. */
inline raise(n, d) {
  if
  :: node[n].generation < must_raise[d] -> node[n].generation = must_raise[d]
  :: else
  fi;
  printf("    daemon %d raises the generation to %d\n", d, node[n].generation);
  PROMISE(lost, "BROKEN: nobody tells of a loss that is none\n");
  if
  :: d == 0 -> seen = node[n].generation
  :: else -> must_read = 1
  fi
}

inline found_lost(d) {
  if
  :: must_raise[d] == 0 -> must_raise[d] = (d == 0 -> seen : history) + 1
  :: else
  fi;
  known[d] = 0;
  raise(chosen[home], d)
}

inline begin_anew(l) {
  printf("daemon 1 tells the member: JOINED … lost, at offset %d\n", batch[l].value);
  PROMISE(lost, "BROKEN: nobody is told of a loss that is none\n");
  PROMISE(!told, "BROKEN: nobody is told twice of one loss\n");
  told = 1;
  position = batch[l].value;
  heard[0] = (batch[l].value > 0 -> page_of[0] : 0);
  heard[1] = (batch[l].value > 1 -> page_of[1] : 0);
  history = batch[l].generation
}

inline page(l) {
  if
  :: batch[l].generation != history -> begin_anew(l)
#ifndef WITHOUT_S9_PAGE
  :: batch[l].generation == history && (batch[l].value < asked_at
#ifndef S9_PAGE_AS_SAID
      || asked_at > 0 && heard[asked_at - 1] != page_of[asked_at - 1]
#endif
     ) ->
    printf("    the page does not hold what the member was sent last\n");
    must_raise[1] = history + 1;
    link[l] = NOBODY /* and connects anew, which raises the generation */
#endif
  :: else ->
    do
    :: position < batch[l].value ->
      printf("daemon 1 gives the member message %d at offset %d, from a page\n", page_of[position], position + 1);
      heard[position] = page_of[position]; position++;
      PROMISE(position < 2 || heard[0] != heard[1], "BROKEN: no message is given twice\n")
    :: else -> break
    od
  fi
}

inline say_said() {
  printf("daemon 0: SAID\n");
  PROMISE(!late, "BROKEN: no answer to what was sent after the takeover\n");
  answered = 1; posted = 0
}

inline answer(l, d) {
  if
  :: d == 0 -> seen = batch[l].generation
  :: d == 1 && batch[l].generation != history && batch[l].op != READ -> must_read = 1
  :: else
  fi;
  must_raise[d] = 0;
  if
  :: batch[l].op == POST && batch[l].result == OK ->
#ifndef WITHOUT_S8
    to_publish[d] = batch[l].value; id_to_publish[d] = batch[l].id;
    generation_of[d] = batch[l].generation;
#endif
    if
    :: d == 0 ->
      posted = 1;
#ifdef WITHOUT_S6_CONFIRM
      say_said()
#else
      if
      :: confirmed == 2 -> say_said()
      :: else
      fi
#endif
    :: d == 1 && batch[l].key == MEMBER -> printf("daemon 1: SAID, to the member\n"); answered_member = 1
    :: else -> printf("daemon 1: SAID\n"); answered = 1
    fi
#ifdef LEAVES
  :: batch[l].op == JOIN && d == 0 ->
    if
    :: batch[l].result == OK -> printf("daemon 0: JOINED\n"); joined0 = 1
    :: else
    fi
#endif
  :: batch[l].op == JOIN && d == 1 && batch[l].result == OK ->
    printf("daemon 1: JOINED\n");
    if :: batch[l].key == mine -> told_joined = 1; joined = 1 :: else fi
  :: batch[l].op == JOIN && d == 1 && batch[l].result == TAKEN && batch[l].key == mine ->
    printf("daemon 1 is refused, and owns the session\n");
    PROMISE(false, "BROKEN: a rightful owner is never refused\n")
  :: batch[l].op == READ -> page(l)
  :: else
  fi
}

#define unhold(l) if :: batch[l].at == HELD && batch[l].node == chosen[0] -> batch[l].at = DOUBT; link[l] = NOBODY :: else fi;
/* Nobody has anything left to do. */
#define AT_WORK(d) (batch[LINK(d, 0)].at != IDLE || batch[LINK(d, 1)].at != IDLE || to_publish[d] != 0 || \
                    link[LINK(d, home)] != chosen[home] || route[d] != home)
#define QUIET (WORKS(chosen[home]) && (dead || !AT_WORK(0) && seen == node[chosen[home]].generation) && \
               !AT_WORK(1) && history == node[chosen[home]].generation && !must_read && !DEAF)
#ifdef WITHOUT_S10
#define DEAF (node[subscribed].up != UP)
#else
#define DEAF (subscribed != chosen[home])
#endif
#endif


inline wipe(n) {
  empty_slot(n); node[n].marker[1] = 0
}

inline forget(b) {
  batch[b].at = IDLE; batch[b].node = 0; batch[b].op = 0; batch[b].value = 0; batch[b].id = 0; batch[b].generation = 0; batch[b].key = 0; batch[b].rekey = 0; batch[b].number = 0; batch[b].result = 0;
  batch[b].late = 0; batch[b].latest = 0
}

inline put(to, from) {
  batch[to].at = batch[from].at; batch[to].node = batch[from].node; batch[to].op = batch[from].op; batch[to].value = batch[from].value; batch[to].id = batch[from].id;
  batch[to].generation = batch[from].generation; batch[to].key = batch[from].key;
  batch[to].rekey = batch[from].rekey; batch[to].number = batch[from].number; batch[to].result = batch[from].result; batch[to].late = batch[from].late;
  batch[to].latest = batch[from].latest
}

/* A node carries out a batch of daemon d on link l to shard h. */
inline carry_out(b, d, h) {
  where = batch[b].node;
  if
  :: !node[where].master || home != SHARD(where) && (node[where].up == UP || !node[where].slot) ->
    batch[b].at = REFUSED; batch[b].result = 0
  :: else ->
    batch[b].at = RUN;
    ask(b, d);
    if
    :: HAS_MARKER(d) ->
#ifdef WITHOUT_S9_MARKERS
      node[where].marker[MARK(d, h)] = batch[b].number
#else
      /* A marker has a key for each link: late bytes change one that nobody compares. */
      if
      :: node[where].marker[MARK(d, h)] < batch[b].number -> node[where].marker[MARK(d, h)] = batch[b].number
      :: else
      fi
#endif
    :: else
    fi
  fi
}

#ifdef WITHOUT_S7
#define ACKNOWLEDGED(l) (batch[l].at == RUN || batch[l].at == HELD)
#else
#define ACKNOWLEDGED(l) (batch[l].at == HELD)
#endif
#define WORKS(n) (node[n].up == UP && node[n].master)
#define IN_STEP(h) (WORKS(chosen[h]) && node[OTHER(chosen[h])].up == UP && node[OTHER(chosen[h])].joined)
#ifdef WITHOUT_S11_MARKER
#define MARKED_AT(h) (chosen[h])
#else
#define MARKED_AT(h) MARKER_IS_AT(h)
#endif
#define LIVES(d) (batch[OLD(LINK(d, 0))].at == SENT || batch[OLD(LINK(d, 1))].at == SENT)

/* What may happen on a daemon's link to a shard. */
#define LINK_STEPS(d, h) \
  :: d_step { (link[LINK(d, h)] == NOBODY || link[LINK(d, h)] != chosen[h] && batch[LINK(d, h)].at == IDLE) \
              && WORKS(chosen[h]) && WORKS(MARKED_AT(h)) && NEEDED(d, h) -> \
       printf("daemon %d connects to node %d, shard %d\n", d, chosen[h], h); \
       link[LINK(d, h)] = chosen[h]; \
       if \
       :: batch[OLD(LINK(d, h))].at == SENT && batch[OLD(LINK(d, h))].node == chosen[h] KILL_ONLY_LATEST(LINK(d, h)) -> \
         printf("    and kills its former link there\n"); \
         forget(OLD(LINK(d, h))) \
       :: else -> batch[OLD(LINK(d, h))].latest = 0 \
       fi; \
       if \
       :: COMPARES(d) && node[MARKED_AT(h)].marker[MARK(d, h)] < known[MARK(d, h)] || MUST_RAISE(d) -> \
         printf("    its marker is %d, %d was acknowledged\n", \
                node[MARKED_AT(h)].marker[MARK(d, h)], known[MARK(d, h)]); \
         found_lost(d) \
       :: else \
       fi } \
  :: d_step { link[LINK(d, h)] != NOBODY && !WORKS(link[LINK(d, h)]) && batch[LINK(d, h)].at != IDLE -> break_link(d, h) } \
  :: d_step { link[LINK(d, h)] != NOBODY && WORKS(link[LINK(d, h)]) && hiccups > 0 \
              && d == 0 && (batch[LINK(d, h)].at == SENT || batch[LINK(d, h)].at == RUN) -> \
       hiccups--; break_link(d, h) } \
  :: d_step { link[LINK(d, h)] != NOBODY && batch[LINK(d, h)].at == DOUBT -> \
       NUMBER(d, h) \
       batch[LINK(d, h)].node = link[LINK(d, h)]; \
       batch[LINK(d, h)].at = SENT; \
       RE_KEY(d, h) \
       printf("daemon %d sends again, to node %d: ", d, link[LINK(d, h)]); \
       say(LINK(d, h)); \
       if :: d == 1 && node[link[LINK(d, h)]].up == UP -> carry_out(LINK(d, h), d, h) :: else fi } \
  :: d_step { batch[LINK(d, h)].at == SENT && link[LINK(d, h)] != NOBODY && node[batch[LINK(d, h)].node].up != DEAD -> \
       carry_out(LINK(d, h), d, h); \
       printf("node %d, from daemon %d: ", batch[LINK(d, h)].node, d); \
       say(LINK(d, h)); \
       come_to(LINK(d, h)) } \
  :: d_step { batch[OLD(LINK(d, h))].at == SENT && node[batch[OLD(LINK(d, h))].node].up != DEAD -> \
       printf("node %d, late, from a former link of daemon %d: ", batch[OLD(LINK(d, h))].node, d); \
       say(OLD(LINK(d, h))); \
       carry_out(OLD(LINK(d, h)), d, h); \
       come_to(OLD(LINK(d, h))); \
       forget(OLD(LINK(d, h))) } \
  :: d_step { ACKNOWLEDGED(LINK(d, h)) && link[LINK(d, h)] != NOBODY -> \
       if :: HAS_MARKER(d) -> known[MARK(d, h)] = batch[LINK(d, h)].number :: else fi; \
       answer(LINK(d, h), d); \
       forget(LINK(d, h)) }

#define NUMBER(d, h) \
       if \
       :: HAS_MARKER(d) -> number[MARK(d, h)]++; batch[LINK(d, h)].number = number[MARK(d, h)] \
       :: else \
       fi;
#ifdef WITHOUT_S9_FORMER
#define KILL_ONLY_LATEST(l) && batch[OLD(l)].latest
#else
#define KILL_ONLY_LATEST(l)
#endif
#ifdef WITHOUT_S9_KEYS
#define RE_KEY(d, h)
#else
#define RE_KEY(d, h) \
       if \
       :: d == 0 && LIVES(d) -> new_key(LINK(d, h)) \
       :: else \
       fi;
#endif

inline break_link(d, h) {
  printf("daemon %d's link to node %d breaks\n", d, link[LINK(d, h)]);
  if
  :: batch[LINK(d, h)].at == SENT && node[link[LINK(d, h)]].up != DEAD && batch[OLD(LINK(d, h))].at == IDLE ->
    printf("    its last bytes are still on their way\n");
    put(OLD(LINK(d, h)), LINK(d, h));
    batch[OLD(LINK(d, h))].latest = 1
  :: else
  fi;
  if
  :: batch[LINK(d, h)].at == IDLE || batch[LINK(d, h)].at == REFUSED
  :: else -> batch[LINK(d, h)].at = DOUBT; batch[LINK(d, h)].result = 0
  fi;
  link[LINK(d, h)] = NOBODY
}

inline take(d, h, what, which, under) {
  batch[LINK(d, h)].at = SENT;
  batch[LINK(d, h)].node = link[LINK(d, h)];
  batch[LINK(d, h)].op = what;
  batch[LINK(d, h)].id = which;
  batch[LINK(d, h)].key = under;
  NUMBER(d, h)
  batch[LINK(d, h)].late = welcomed;
  printf("daemon %d sends to node %d: ", d, link[LINK(d, h)]);
  say(LINK(d, h));
  if
  :: d == 1 && node[link[LINK(d, h)]].up == UP -> carry_out(LINK(d, h), d, h) /* its late bytes are not played */
  :: else
  fi
}

/* A slot's route changes once nothing of the slot is on its way; what is in doubt moves first. */
#define ON_ITS_WAY(l) (batch[l].at == SENT || batch[l].at == RUN || batch[l].at == HELD)
inline reroute(d) {
  printf("daemon %d learns that the slot is on shard %d\n", d, home);
  if
  :: batch[LINK(d, 1 - home)].at == DOUBT || batch[LINK(d, 1 - home)].at == REFUSED ->
    put(LINK(d, home), LINK(d, 1 - home));
    batch[LINK(d, home)].at = DOUBT;
    forget(LINK(d, 1 - home))
  :: else
  fi;
  route[d] = home
}

#define FREE_LINK(d) (link[LINK(d, route[d])] != NOBODY && batch[LINK(d, route[d])].at == IDLE)

/* Faults that nobody could notice are left out. */
#define CONCERNS(h) (!FINISHED && (home == h || batch[LINK(0, h)].at != IDLE || batch[OLD(LINK(0, h))].at != IDLE))
#define SHARD_STEPS(h) \
  :: d_step { WORKS(chosen[h]) && node[OTHER(chosen[h])].up == UP -> \
       copy(OTHER(chosen[h]), chosen[h]); \
       node[OTHER(chosen[h])].joined = 1; \
       if :: batch[LINK(0, h)].at == RUN && batch[LINK(0, h)].node == chosen[h] -> batch[LINK(0, h)].at = HELD :: else fi; \
       if :: batch[LINK(1, h)].at == RUN && batch[LINK(1, h)].node == chosen[h] -> batch[LINK(1, h)].at = HELD :: else fi; \
       printf("node %d copies its master\n", OTHER(chosen[h])) } \
  :: d_step { faults > 0 && CONCERNS(h) && IN_STEP(h) -> \
       printf("FAULT: node %d, master of shard %d, is dead\n", chosen[h], h); \
       faults--; node[chosen[h]].up = DEAD; wipe(chosen[h]); \
       node[chosen[h]].master = 0; \
       bury(0, h) bury(1, h) } \
  :: d_step { faults > 0 && CONCERNS(h) && IN_STEP(h) -> \
       printf("FAULT: node %d, master of shard %d, is cut off\n", chosen[h], h); \
       faults--; node[chosen[h]].up = CUT } \
  :: d_step { faults > 0 && CONCERNS(h) && IN_STEP(h) -> \
       printf("FAULT: node %d hands shard %d over to node %d\n", chosen[h], h, OTHER(chosen[h])); \
       faults--; copy(OTHER(chosen[h]), chosen[h]); demoted(chosen[h]); \
       node[chosen[h]].master = 0; chosen[h] = OTHER(chosen[h]); node[chosen[h]].master = 1 } \
  :: d_step { node[chosen[h]].up != UP && node[OTHER(chosen[h])].up == UP && node[OTHER(chosen[h])].joined -> \
       printf("node %d becomes master of shard %d\n", OTHER(chosen[h]), h); \
       chosen[h] = OTHER(chosen[h]); node[chosen[h]].master = 1; \
       if :: home != h -> empty_slot(chosen[h]) :: else fi; \
       if \
       :: home == h && LACKS(chosen[h]) -> \
         printf("    what was answered is not there\n"); \
         LOST_ON_ARRIVAL(h) \
       :: else \
       fi } \
  :: d_step { node[2 * (h)].up != UP && MAY_START(2 * (h), h) -> back(2 * (h)) } \
  :: d_step { node[2 * (h) + 1].up != UP && MAY_START(2 * (h) + 1, h) -> back(2 * (h) + 1) } \
  :: d_step { node[chosen[h]].up == CUT -> \
       printf("node %d is reached again\n", chosen[h]); node[chosen[h]].up = UP }

#ifdef WITHOUT_S13_EMPTY
#define MAY_START(n, h) (chosen[h] != (n) || node[n].up == DEAD)
#define STARTS_AS(n) node[n].master = (chosen[SHARD(n)] == (n))
#else
#define MAY_START(n, h) (chosen[h] != (n))
#define STARTS_AS(n) node[n].master = 0
#endif
/* One death loses a slot that has just come: no rule prevents it, it must be told. */
#define LOST_ON_ARRIVAL(h) PROMISE(lost || !node[chosen[h]].slot, "BROKEN: what was answered, or heard, survives one death\n"); lost = 1

#define unblock(l, n) \
  if \
  :: batch[l].at == RUN && batch[l].node == n -> batch[l].at = DOUBT; batch[l].result = 0; link[l] = NOBODY \
  :: else \
  fi;
#define bury(d, h) \
  if :: batch[OLD(LINK(d, h))].at == SENT && node[batch[OLD(LINK(d, h))].node].up == DEAD -> forget(OLD(LINK(d, h))) :: else fi;

inline back(n) {
  node[n].up = UP; node[n].joined = 0; STARTS_AS(n);
  printf("node %d is back, master: %d\n", n, node[n].master);
  demoted(n)
}

/* WAIT is answered with an error; or, the daemon having been frozen between two of them, the
 * marker that is read after it is not there. */
inline demoted(n) {
#ifdef WITHOUT_S7_PROOF
  skip
#else
  unblock(0, n) unblock(1, n) unblock(2, n) unblock(3, n)
#endif
}

init {
  d_step {
    begin(0); begin(1);
    node[0].master = 1; node[2].master = 1;
    node[0].joined = 1; node[1].joined = 1; node[2].joined = 1; node[3].joined = 1;
    chosen[0] = 0; chosen[1] = 2;
    link[0] = 0; link[1] = NOBODY; link[2] = NOBODY; link[3] = NOBODY
  }
  do
  LINK_STEPS(0, 0)
  LINK_STEPS(0, 1)
  LINK_STEPS(1, 0)
  LINK_STEPS(1, 1)
  SHARD_STEPS(0)
  SHARD_STEPS(1)
  :: d_step { moves > 0 && !FINISHED && IN_STEP(0) && IN_STEP(1) ->
       moves--;
       printf("FAULT: the slot moves from shard %d to %d\n", home, 1 - home);
       move(chosen[home], chosen[1 - home]);
       empty_slot(chosen[home]);
       home = 1 - home }
#ifdef WITHOUT_S11_ORDER
  :: d_step { route[0] != home && batch[LINK(0, home)].at == IDLE -> reroute(0) }
  :: d_step { route[0] == home && batch[LINK(0, home)].at == IDLE &&
              (batch[LINK(0, 1 - home)].at == DOUBT || batch[LINK(0, 1 - home)].at == REFUSED) -> reroute(0) }
#else
  :: d_step { route[0] != home && !ON_ITS_WAY(LINK(0, 1 - home)) -> reroute(0) }
#endif
  :: d_step { route[1] != home && !ON_ITS_WAY(LINK(1, 1 - home)) -> reroute(1) }
#ifdef LINES
  :: d_step { !closed && FREE_LINK(0) && next_line <= LINES_MAX ->
       take(0, route[0], LINE, next_line, key0); next_line++ }
  :: d_step { !resumed && FREE_LINK(1) -> take(1, route[1], RESUME, 0, 0); resumed = 1 }
#endif
#ifdef POSTS
#ifdef LEAVES
  /* Its session's shard is asked at the same time, and the first to answer: it is the owner. */
  :: d_step { !joining0 && owner == 1 && FREE_LINK(0) -> joining0 = 1; take(0, route[0], JOIN, 0, 1) }
  :: d_step { joined && !leaving && FREE_LINK(1) && to_publish[1] == 0 ->
       leaving = 1; joined = 0; take(1, route[1], LEAVE, 0, mine) }
#endif
  :: d_step { joined0 && !said && !dead && FREE_LINK(0) ->
       said = 1; confirmed = 1; late = welcomed; take(0, route[0], POST, 1, 1) }
  :: d_step { confirmed == 1 && !dead ->
       confirmed = (owner == 1 && generation_there == 0 -> 2 : 3);
       printf("the session's shard, to daemon 0: %d (2 the owner, 3 not)\n", confirmed);
       if
       :: confirmed == 2 && posted -> say_said()
       :: else
       fi }
#ifndef BEYOND /* without a takeover */
  :: d_step { mine == 0 ->
       owner = 4 * generation_there + 2; mine = owner; welcomed = 1; joining = 0; joined = 0;
       printf("daemon 1: WELCOME, as owner %d\n", mine) }
#endif
  :: d_step { mine != 0 && !joining && FREE_LINK(1) && to_publish[1] == 0 -> joining = 1; take(1, route[1], JOIN, 0, mine) }
  :: d_step { joined && !answered && !says && FREE_LINK(1) && to_publish[1] == 0 -> says = 1; take(1, route[1], POST, 1, mine) }
  :: d_step { !member_says && FREE_LINK(1) && to_publish[1] == 0 -> member_says = 1; take(1, route[1], POST, 3, MEMBER) }
  :: d_step { must_read && FREE_LINK(1) && to_publish[1] == 0 -> must_read = 0; asked_at = position; take(1, route[1], READ, 0, 0) }
  :: d_step { to_publish[0] != 0 && !dead && FREE_LINK(0) ->
       batch[LINK(0, route[0])].value = to_publish[0]; to_publish[0] = 0;
       take(0, route[0], PUBLISH, id_to_publish[0], 0) }
  :: d_step { to_publish[1] != 0 && FREE_LINK(1) ->
       batch[LINK(1, route[1])].value = to_publish[1]; to_publish[1] = 0;
       take(1, route[1], PUBLISH, id_to_publish[1], 0) }
  :: d_step { WORKS(chosen[home]) && DEAF ->
              subscribed = chosen[home]; must_read = 1;
              printf("daemon 1 subscribes at node %d, and reads\n", subscribed) }
  :: d_step { !must_read && WORKS(chosen[home]) && link[LINK(1, home)] == chosen[home] &&
              node[chosen[home]].generation != history -> must_read = 1 }
  :: d_step { !dead && WORKS(chosen[home]) && link[LINK(0, home)] == chosen[home] &&
              node[chosen[home]].generation != seen -> seen = node[chosen[home]].generation }
  :: d_step { QUIET ->
       at = chosen[home];
       if
       :: position != node[at].length || DIFFERS(at, 0) || DIFFERS(at, 1) ->
         printf("all is quiet: the room has %d messages (%d, %d), the member was given %d (%d, %d)\n",
                node[at].length, node[at].message[0], node[at].message[1], position, heard[0], heard[1]);
         PROMISE(false, "BROKEN: a member has every message, once and in order, or was told\n")
       :: else
       fi;
       if
       :: node[at].generation == 0 && (answered && !dead && !HAS(at, 1) || answered_member && !HAS(at, 3)) ->
         printf("all is quiet: a message that was answered is gone, and nobody was told\n");
         PROMISE(false, "BROKEN: a loss is told\n")
       :: else
       fi }
#ifdef BEYOND
  :: d_step { !laid_by && WORKS(chosen[0]) && home == 0 -> laid_by = 1; copy(4, chosen[0]) }
  :: d_step { laid_by && !rolled && IN_STEP(0) && home == 0 ->
       rolled = 1;
       printf("BEYOND: node %d is dead, and what replaces it is an older copy\n", chosen[0]);
       node[chosen[0]].up = DEAD; wipe(chosen[0]); node[chosen[0]].master = 0;
       bury(0, 0) bury(1, 0)
       unhold(0) unhold(1) unhold(2) unhold(3)
       chosen[0] = OTHER(chosen[0]); copy(chosen[0], 4); node[chosen[0]].master = 1;
       if
       :: LACKS(chosen[0]) -> lost = 1
       :: else
       fi }
  :: d_step { !dead && rolled -> dead = 1;
       printf("FAULT: daemon 0 is dead\n");
       forget(LINK(0, 0)); forget(LINK(0, 1)); forget(OLD(LINK(0, 0))); forget(OLD(LINK(0, 1)));
       link[0] = NOBODY; link[1] = NOBODY; to_publish[0] = 0; posted = 0; confirmed = 0; must_read = 1 }
#endif
#ifdef BEYOND_SESSION
  :: d_step { generation_there == 0 && mine != 0 ->
       printf("BEYOND: the session's shard is an older copy; the client is told, and says HELLO again\n");
       generation_there = 1; owner = 1; mine = 0 }
#endif
#endif
  od
}
#endif

#ifdef SLOTS
#ifdef S11_ARRIVAL_AS_SAID
#define WITHOUT_S11_LOOK /* which are in its place */
#define WITHOUT_S11_ABSENT
#endif
/* What is told by slot. A room is in slot S, in which one daemon's client says messages 1 and 2.
 * The daemon's marker of shard 0 is in slot T, that of shard 1 in another; T and S move. A batch
 * is carried out when it is sent: what is late, and in which order, the lines show. */

#define T 0 /* slots: the first tag of shard 0, */
#define S 1 /* the room's, */
#define U 2 /* another tag of shard 0, */
#define V 3 /* the tag of shard 1 */
#define MASTER(h) (2 * (h))
#define REPLICA(h) (2 * (h) + 1)
#define OLDER 4 /* a copy of shard 0 that was laid by */

typedef Copy {
  bool there;             /* slot S is: */
  unsigned length : 2;    /*   the room's messages, */
  unsigned last : 2;      /*   the id of the last, */
  unsigned generation : 2;
  byte marker[4] /* in slots T, U and V; 0: it is not there */
}

typedef Way {
  unsigned at : 3; /* IDLE, RUN, HELD, DOUBT */
  bool post;       /* or a marker alone */
  unsigned offset : 2;
  unsigned length : 2; /* of the room, when it was carried out */
  unsigned generation : 2;
  bool absent; /* the room was not there */
  byte number
}

Copy copy_[5];
Way way[2]; /* the batch on its way to each shard */
bool connected[2], joined[2], behind[2]; /* of shards; of replicas: has copied its master; lacks something */
bool room_at, tag_at; /* the shard where S is, and T */
bool route, arriving, changed; /* the daemon's view of S; its master changed before it was acknowledged there */
byte tag = T, known[2], number;
byte said, answered, answered_in, seen; /* ids; an offset, and its generation; the generation that the daemon knows */
bool lost, suspected, laid_by, rolled;
byte faults = FAULTS, moves = MOVES;
byte at, to;

#ifdef S11_TAG_AS_SAID
#define TWO_TAGS false
#else
#define TWO_TAGS true
#endif
#define TAG(h) ((h) == 0 -> tag : V)
#define WITNESS(h) ((h) == 0 && TWO_TAGS -> U : TAG(h))
#define HERE MASTER(room_at)
#define GONE (answered > 0 && (!copy_[HERE].there || copy_[HERE].generation <= answered_in && copy_[HERE].length < answered))

inline clear_room(c) {
  copy_[c].there = 0; copy_[c].length = 0; copy_[c].last = 0; copy_[c].generation = 0
}

inline move_room(t, f) {
  copy_[t].there = copy_[f].there; copy_[t].length = copy_[f].length; copy_[t].last = copy_[f].last;
  copy_[t].generation = copy_[f].generation
}

inline copy_all(t, f) {
  move_room(t, f);
  copy_[t].marker[T] = copy_[f].marker[T];
  copy_[t].marker[U] = copy_[f].marker[U];
  copy_[t].marker[V] = copy_[f].marker[V]
}

/* It counts as acknowledged: a raise that dies with its master is shown by the posts. */
inline raise() {
  printf("    the daemon raises the room's generation to %d\n", seen + 1);
  PROMISE(lost || suspected, "BROKEN: nobody is told of a loss that is none\n");
  seen++;
  copy_[HERE].there = 1; copy_[HERE].generation = seen;
  move_room(REPLICA(room_at), HERE);
  answered = 0; answered_in = seen;
  arriving = 0; changed = 0; suspected = 0
}

/* The daemon looks whether the room still has what it was acknowledged there. */
inline look() {
  if
  :: GONE -> printf("    the daemon looks: the room has %d messages\n", copy_[HERE].length); raise()
  :: else
  fi
}

/* A master is replaced: what has become of what it had. */
inline replaced(h) {
  if :: room_at != h -> clear_room(MASTER(h)) :: else fi;
  if :: h == 0 && tag_at == 1 -> copy_[MASTER(0)].marker[T] = 0 :: else fi;
  if :: h == 1 && tag_at == 0 -> copy_[MASTER(1)].marker[T] = 0 :: else fi;
  clear_room(REPLICA(h)); copy_[REPLICA(h)].marker[T] = 0; copy_[REPLICA(h)].marker[U] = 0; copy_[REPLICA(h)].marker[V] = 0;
  joined[h] = 0; connected[h] = 0; behind[h] = 0;
  if :: way[h].at != IDLE -> way[h].at = DOUBT :: else fi;
  if :: arriving && route == h -> changed = 1; suspected = 1 :: else fi;
  if
  :: room_at == h && GONE -> printf("    a message that was answered is not there\n"); lost = 1
  :: known[h] > 0 && copy_[MASTER(h)].marker[WITNESS(h)] < known[h] && \
     !(TAG(h) == T && !TWO_TAGS && tag_at == 1) -> lost = 1
  :: else
  fi
}

inline send(h) {
  number++; way[h].number = number;
  printf("the daemon sends to shard %d: ", h);
  if
  :: way[h].post -> printf("post message %d\n", said)
  :: else -> printf("its marker\n")
  fi;
  if
  :: way[h].post && room_at != h -> printf("    refused: MOVED\n"); way[h].at = DOUBT
  :: else ->
    way[h].absent = room_at == h && !copy_[MASTER(h)].there;
    if
    :: way[h].post && copy_[MASTER(h)].last < said ->
      if
      :: way[h].absent -> copy_[MASTER(h)].there = 1; copy_[MASTER(h)].generation = seen + 1 /* it begins anew */
      :: else
      fi;
      copy_[MASTER(h)].length++; copy_[MASTER(h)].last = said;
      printf("    carried out, offset %d\n", copy_[MASTER(h)].length)
    :: else
    fi;
    way[h].offset = copy_[MASTER(h)].length; way[h].generation = copy_[MASTER(h)].generation;
    behind[h] = 1;
    if
    :: h == 0 && tag == T && tag_at == 1 ->
      printf("    its marker is refused: MOVED\n"); way[h].at = DOUBT; connected[h] = 0
    :: else -> copy_[MASTER(h)].marker[TAG(h)] = number; way[h].at = RUN
    fi;
    if :: h == 0 && TWO_TAGS -> copy_[MASTER(0)].marker[U] = number :: else fi
  fi
}

/* What the daemon does when it has connected to a shard. */
inline compare(h) {
  connected[h] = 1;
#ifdef S11_TAG_AS_SAID
  at = ((h) == 0 && tag == T && tag_at == 1 -> MASTER(1) : MASTER(h)); /* where it is now */
#else
  at = MASTER(h);
  if :: (h) == 0 && tag == T && tag_at == 1 -> tag = U; printf("the other marker of shard 0 counts\n") :: else fi;
#endif
  printf("the daemon connects to shard %d: its marker is %d, %d was acknowledged\n", h, copy_[at].marker[TAG(h)], known[h]);
  if
  :: copy_[at].marker[TAG(h)] < known[h] ->
    known[h] = 0;
    if
#ifdef WITHOUT_S11_SLOTS
    :: room_at == h -> raise() /* only in the slots that are there now */
#else
    :: route == h || room_at == h -> raise() /* in each slot that was there, where it is now */
#endif
    :: else
    fi
  :: else
  fi;
#ifdef S11_ARRIVAL_AS_SAID
  if
  :: changed && route == h -> printf("    the slot has come, and its master changed before that was acknowledged\n"); raise()
  :: else
  fi;
#endif
#ifndef WITHOUT_S11_LOOK
  if :: route == h && room_at == h -> look() :: else fi;
#endif
#ifdef S11_TAG_AS_SAID
  if
  :: (h) == 0 && tag == T && tag_at == 1 -> tag = U; known[0] = 0; printf("    another tag takes over\n")
  :: else
  fi
#endif
}

inline acknowledged(h) {
  known[h] = way[h].number;
  if
  :: answered > 0 && (way[h].absent || way[h].post && way[h].generation > seen) ->
    printf("    the room began anew\n");
    raise()
  :: else
  fi;
  if
  :: way[h].post ->
    printf("the daemon: SAID, offset %d\n", way[h].offset);
    if
    :: way[h].generation == answered_in ->
      PROMISE(way[h].offset > answered, "BROKEN: no offset is given to another message\n")
    :: else
    fi;
    answered = way[h].offset; answered_in = way[h].generation;
    if :: GONE -> lost = 1 :: else fi; /* lost where the slot has come, while the answer was on its way */
    if :: seen < answered_in -> seen = answered_in :: else fi
  :: else
  fi;
  if :: route == h -> arriving = 0; suspected = 0 :: else fi;
  way[h].at = IDLE; way[h].post = 0; way[h].number = 0; way[h].offset = 0; way[h].generation = 0; way[h].absent = 0
}

#define LOOKS(h) (route == h && arriving || h == 0 && known[0] == 0 && tag == U)
/* A slot is moved while both replicas have all that their masters have. */
#ifdef WITHOUT_S11_STEP
#define MAY_MOVE (moves > 0 && joined[0] && joined[1])
#else
#define MAY_MOVE (moves > 0 && joined[0] && joined[1] && !behind[0] && !behind[1])
#endif

#define SLOT_STEPS(h) \
  :: d_step { connected[h] && way[h].at == IDLE && route == h && said < 2 -> said++; way[h].post = 1; send(h) } \
  :: d_step { connected[h] && way[h].at == IDLE && LOOKS(h) -> send(h) } \
  :: d_step { connected[h] && way[h].at == DOUBT && (!way[h].post || route == room_at) -> send(h) } \
  :: d_step { !connected[h] -> compare(h) } \
  :: d_step { connected[h] && way[h].at == HELD -> acknowledged(h) } \
  :: d_step { !joined[h] || behind[h] -> \
       copy_all(REPLICA(h), MASTER(h)); joined[h] = 1; behind[h] = 0; \
       if :: way[h].at == RUN -> way[h].at = HELD :: else fi; \
       printf("the replica of shard %d copies its master\n", h) } \
  :: d_step { faults > 0 && joined[h] -> \
       faults--; printf("FAULT: the master of shard %d is dead, its replica takes its place\n", h); \
       copy_all(MASTER(h), REPLICA(h)); replaced(h) }

#define QUIET (connected[0] && connected[1] && way[0].at == IDLE && way[1].at == IDLE && route == room_at && !LOOKS(0) && !LOOKS(1) \
               && !(tag == T && tag_at == 1) && !EARLY)
/* What was acknowledged is not there, and cannot have expired. */
#ifdef WITHOUT_S11_ABSENT
#define EARLY false
#else
#define EARLY (connected[route] && route == room_at && GONE && !copy_[HERE].there)
#endif

init {
  d_step {
    copy_[0].there = 1; copy_[1].there = 1;
    connected[0] = 1; connected[1] = 1; joined[0] = 1; joined[1] = 1
  }
end:
  do
  SLOT_STEPS(0)
  SLOT_STEPS(1)
  :: d_step { MAY_MOVE ->
       moves--; to = 1 - room_at;
       printf("FAULT: the room's slot moves from shard %d to %d\n", room_at, to);
       move_room(MASTER(to), MASTER(room_at)); clear_room(MASTER(room_at));
       behind[0] = 1; behind[1] = 1; room_at = to }
  :: d_step { MAY_MOVE && tag_at == 0 ->
       moves--;
       printf("FAULT: the marker's slot moves from shard 0 to 1\n");
       copy_[MASTER(1)].marker[T] = copy_[MASTER(0)].marker[T]; copy_[MASTER(0)].marker[T] = 0;
       behind[0] = 1; behind[1] = 1; tag_at = 1 }
  :: d_step { route != room_at && way[route].at != RUN && way[route].at != HELD && way[room_at].at == IDLE ->
       printf("the daemon learns that the slot is on shard %d\n", room_at);
       way[room_at].at = way[route].at; way[room_at].post = way[route].post; way[route].at = IDLE; way[route].post = 0;
       route = room_at; changed = 0;
#ifdef S11_ARRIVAL_AS_SAID
       arriving = 1
#else
#ifndef WITHOUT_S11_ARRIVAL_LOOK
       if :: connected[route] -> look() :: else fi
#endif
#endif
     }
#ifdef BEYOND
  :: d_step { !laid_by && (answered > 0 || known[0] > 0 || room_at == 1) -> laid_by = 1; copy_all(OLDER, MASTER(0)) }
  :: d_step { laid_by && !rolled -> rolled = 1;
       printf("BEYOND: both nodes of shard 0 are dead, and what replaces them is an older copy\n");
       copy_all(MASTER(0), OLDER); replaced(0) }
#endif
  :: d_step { EARLY -> printf("a sign of life finds nothing, before its time\n"); raise() }
  :: d_step { QUIET && GONE ->
       printf("all is quiet: a message that was answered is gone, and nobody was told\n");
       PROMISE(false, "BROKEN: a loss is told\n") }
  od
}
#endif
