#!/bin/sh
# Start a node of a Redis Cluster in a container, and help it to find the others.
#
#   NODE=NAME NODES="NAME …" node.sh start USERS SECRETS SERVER [OPTION…]
#   NODE=NAME node.sh healthy SECRETS
#   NODE=NAME NODES="NAME …" node.sh leave SECRETS
#
# A name is redis-SHARD-NUMBER, is found by DNS, and stays whatever address its container
# has: a node is a replica of its shard's master, whoever that is. The working directory is
# the node's own. USERS, SECRETS and SERVER are start.sh's, which starts the server.
#
#     start ──▶ has it lost its data? ──▶ the server, in this process
#                  wait, forget who it was     └ keep, beside it: meet, settle, forget
#
# What is promised (docs/adr/0027, tests/fleet/test_redis_node_sh.py):
#   data       a node without its data never starts as a master: it stays down until its slots
#              have another one, and comes back as another node, a replica;
#   addresses  after any of them have changed, or all, the nodes find each other;
#   shards     a node copies nobody but its own shard's master, whatever address that one had
#              before;
#   handover   a master that is told to leave, before it is stopped, has given its slots to a
#              replica in step, if there is one: nobody waits until its death is noticed;
#   once       a new cluster is formed when all nodes answer, each master by its own node. A
#              range of slots that has ever had a master is given to nobody.
#
# Only sh, timeout, sleep, redis-cli and the server are needed.
set -fu

# One command of one node; a slow disk delays it by an fsync.
ASK_S_MAX=2

# How often a node that misses something looks for it: in its first minute, and then.
LOOK_S=1
LOOK_LATER_S=10
FIRST_LOOKS=60

# How often it is looked whether a replica has taken over: Redis gives up after 5 s.
HANDOVER_LOOKS=6

SLOTS=16384
IDENTITY=nodes.conf
DATA=appendonlydir
# Redis writes here while a copy of its master is being written: what it acknowledges
# meanwhile is in no file that it would load.
UNFINISHED=$DATA/temp-appendonly.aof.incr

say() { echo "node.sh: $*" >&2; }

# ask HOST WORD…: one command, with every right; without words, the commands of the standard
# input.
ask() {
  at=$1
  shift
  REDISCLI_AUTH=$admin timeout "$ASK_S_MAX" redis-cli --user admin -h "$at" "$@" 2>/dev/null
}

# look NAME…: what these nodes tell, all asked at once, in lines that begin with the name:
#   NAME at ADDRESS:PORT     where it answers
#   NAME sees ID ADDRESS FLAGS MASTER PING PONG EPOCH LINK SLOT…     a line of CLUSTER NODES
look() {
  for name; do
    printf 'CLIENT INFO\nCLUSTER NODES\n' | ask "$name" | tell "$name" &
  done
  wait
}

tell() {
  while read -r line; do
    case $line in
      id=*\ laddr=*)
        address=${line#*\ laddr=}
        echo "$1 at ${address%%\ *}"
        ;;
      *\ connected* | *\ disconnected*) echo "$1 sees $line" ;;
    esac
  done
}

# place NAME: its ADDRESS:PORT; nothing if it does not answer.
place() {
  while read -r name what address; do
    [ "$name $what" != "$1 at" ] || echo "$address"
  done <<SEEN
$seen
SEEN
}

# self NAME: itself as it sees itself: ID FLAGS EPOCH SLOT…
self() {
  while read -r name what id _ flags _ _ _ epoch _ slots; do
    case "$name $what $flags" in
      "$1 sees myself,"*) echo "$id $flags $epoch $slots" ;;
    esac
  done <<SEEN
$seen
SEEN
}

# holds SLOT SPAN…: whether one of the spans has it. One that is on its way is none.
holds() {
  slot=$1
  shift
  for span; do
    case $span in
      "["*) ;;
      *) [ "$slot" -lt "${span%-*}" ] || [ "$slot" -gt "${span#*-}" ] || return 0 ;;
    esac
  done
  return 1
}

# --- before the server starts ---

# Whether all that it has acknowledged is in its files.
has_data() {
  [ -s "$DATA/appendonly.aof.manifest" ] && [ ! -e "$UNFINISHED" ] || return 1
  # A line is: file NAME seq NUMBER type KIND; history (h) is deleted at any time.
  while read -r _ file _ _ _ kind _; do
    [ "$kind" = h ] || [ -e "$DATA/$file" ] || return 1
  done <"$DATA/appendonly.aof.manifest"
}

# Whether one of the others sees another master of the slot SLOT, elected after the epoch
# EPOCH, and nothing with ID any more.
replaced() {
  for other in $NODES; do
    found=
    kept=
    while read -r name what id _ flags _ _ _ epoch _ slots; do
      [ "$name $what" = "$other sees" ] || continue
      if [ "$id" = "$1" ]; then
        kept=$slots
      elif holds "$3" $slots && [ "$epoch" -gt "$2" ]; then
        found=$id
      fi
    done <<SEEN
$seen
SEEN
    [ -z "$found" ] || [ -n "$kept" ] || return 0
  done
  return 1
}

# Make sure that the server may start as who it was, or as nobody.
identify() {
  was=
  [ ! -e "$IDENTITY" ] || was=$(seen=$(tell "$NODE" <"$IDENTITY") && self "$NODE")
  if [ -z "$was" ]; then
    # Redis would take the slots of the keys in it.
    ! has_data || {
      say "$PWD has data and no $IDENTITY: whose are they? Delete $DATA for a new node"
      exit 1
    }
    return
  fi
  ! has_data || return
  set -- $was
  case $2 in
    *master*)
      # One without slots had nothing, and a replica's data are its master's.
      if [ $# -gt 3 ]; then
        say "$NODE has lost its data: it waits until $4 has another master"
        # The first process of a container heeds only the signals that it asks for.
        trap 'exit 143' TERM
        until seen=$(look $NODES) && replaced "$1" "$3" "${4%-*}"; do
          sleep "$LOOK_S"
        done
      fi
      ;;
  esac
  say "$NODE has lost its data: it starts as a new node"
  # In this order: data without an identity are what must never be.
  rm -rf "$DATA"
  rm -f "$IDENTITY"
}

# --- beside the server ---

# Meet who is elsewhere, or unknown. Only those: to meet one that it knows breaks their
# link, and a vote on it is lost.
meet() {
  known=" "
  while read -r name what id address _; do
    [ "$name $what" != "$NODE sees" ] || known="$known$id ${address%%@*} "
  done <<SEEN
$seen
SEEN
  for name in $NODES; do
    there=$(place "$name")
    set -- $(self "$name")
    [ "$name" != "$NODE" ] && [ -n "$there" ] && [ $# -gt 0 ] || continue
    case $known in
      *" $1 $there "*) ;;
      *)
        say "$NODE meets $name at $there"
        ask "$NODE" CLUSTER MEET "${there%:*}" "${there##*:}" >/dev/null
        ;;
    esac
  done
}

# Give a node without slots its part: its shard's master has it as a replica or, in a new
# cluster, it is that master.
settle() {
  set -- $(self "$NODE")
  case "$# ${2-}" in
    "3 "*master*) ;;
    *) return ;;
  esac
  leader=
  newest=-1
  for name in $NODES; do
    [ "${name%-*}" = "$shard" ] || continue
    set -- $(self "$name")
    case "$# ${2-}" in
      [0-3]\ * | *slave*) ;;
      *)
        if [ "$3" -gt "$newest" ]; then
          leader=$1
          called=$name
          newest=$3
        fi
        ;;
    esac
  done
  if [ -n "$leader" ]; then
    if ! shares "$called"; then
      say "who answers as $called is not of its shard: its name is old"
      return
    fi
    said=$(ask "$NODE" CLUSTER REPLICATE "$leader")
    say "$NODE is a replica of $leader: $said"
  elif [ "${NODE##*-}" = 0 ] && all_answer && ! had_a_master "$begin"; then
    said=$(ask "$NODE" CLUSTER ADDSLOTSRANGE "$begin" "$end")
    say "$NODE is the master of $begin to $end: $said"
  fi
}

# shares NAME: whether who answers there is of this shard. DNS may be old, and lead to where
# another shard's node is now; that one has another password for replicas (start.sh).
shares() {
  secret=
  IFS= read -r secret <"$secrets/redis_replica" || [ -n "$secret" ]
  answer=$(REDISCLI_AUTH=$secret$shard timeout "$ASK_S_MAX" \
    redis-cli --user replica -h "$1" PING 2>/dev/null)
  [ "$answer" = PONG ]
}

all_answer() {
  for name in $NODES; do
    [ -n "$(place "$name")" ] || return 1
  done
}

had_a_master() {
  while read -r _ what _ _ _ _ _ _ _ _ slots; do
    [ "$what" != sees ] || ! holds "$1" $slots || return 0
  done <<SEEN
$seen
SEEN
  return 1
}

# When all answer: make them forget an identity that none of them has any more. Not while
# anyone sees it with slots, or as somebody's master: its replicas are elected for them, and
# Redis 7.2 and newer pass on what one node is told to forget.
forget() {
  needed=" "
  for name in $NODES; do
    set -- $(self "$name")
    [ $# -gt 0 ] || return
    needed="$needed$1 "
  done
  while read -r _ what id _ _ master _ _ _ _ slots; do
    [ "$what" = sees ] || continue
    [ -z "$slots" ] || needed="$needed$id "
    needed="$needed$master "
  done <<SEEN
$seen
SEEN
  while read -r name what id _ flags _; do
    case "$what $flags" in
      sees\ *,fail | sees\ *,fail,noaddr)
        case $needed in
          *" $id "*) ;;
          *) ask "$name" CLUSTER FORGET "$id" >/dev/null ;;
        esac
        ;;
    esac
  done <<SEEN
$seen
SEEN
}

# Whether it sees itself in its part, and all others where they are.
whole() {
  seen=$(look "$NODE")
  number=0
  while read -r name what _ _ flags _ _ _ _ link slots; do
    case "$what $flags $link $slots" in
      at*) continue ;;
      *fail* | *handshake* | *noaddr* | *disconnected* | *myself,master*connected\ ) return 1 ;;
    esac
    number=$((number + 1))
  done <<SEEN
$seen
SEEN
  [ "$number" -eq "$count" ]
}

# Until the server, the process PID, ends.
keep() {
  until seen=$(look "$NODE") && there=$(place "$NODE") && [ -n "$there" ]; do
    kill -0 "$1" 2>/dev/null || return
    sleep "$LOOK_S"
  done
  # What it says of itself is its former address otherwise, until somebody meets it.
  ask "$NODE" CONFIG SET cluster-announce-ip "${there%:*}" >/dev/null
  # Two masters of one epoch would argue about it first. Refused, unless it knows nobody.
  [ "${NODE##*-}" != 0 ] || ask "$NODE" CLUSTER SET-CONFIG-EPOCH "$first_epoch" >/dev/null
  looks=0
  while kill -0 "$1" 2>/dev/null; do
    if ! whole; then
      seen=$(look $NODES)
      meet
      settle
      forget
    fi
    looks=$((looks + 1))
    [ "$looks" -lt "$FIRST_LOOKS" ] && sleep "$LOOK_S" || sleep "$LOOK_LATER_S"
  done
}

# --- the three tasks ---

# start USERS SECRETS SERVER [OPTION…]
start() {
  shards=0
  count=0
  mine=0
  for name in $NODES; do
    count=$((count + 1))
    [ "${name##*-}" = 0 ] || continue
    [ "${name%-*}" != "$shard" ] || mine=$shards
    shards=$((shards + 1))
  done
  # The shard's part, if it is a new cluster.
  begin=$((SLOTS * mine / shards))
  end=$((SLOTS * (mine + 1) / shards - 1))
  first_epoch=$((mine + 1))

  identify
  # Twice in the background: when it ends it is no child that the server knows nothing of.
  (keep "$$" </dev/null &)
  users=$1
  secrets=$2
  server=$3
  shift 3
  settings=
  while read -r name value; do
    case $name in
      "" | "#"*) ;;
      *) settings="$settings --$name $value" ;;
    esac
  done <"${0%/*}/cluster.conf"
  SHARD=$shard exec sh "${0%/*}/start.sh" "$users" "$secrets" "$server" "$@" $settings
}

# Whether the node serves: all slots have a master, it is one or a replica, and a replica is
# with its master.
healthy() {
  case $(printf 'CLUSTER INFO\nINFO replication\n' | ask "$NODE") in
    *cluster_state:ok*cluster_slots_assigned:$SLOTS*role:slave*master_link_status:up*) ;;
    *cluster_state:ok*cluster_slots_assigned:$SLOTS*role:master*)
      seen=$(look "$NODE")
      set -- $(self "$NODE")
      [ $# -gt 3 ]
      ;;
    *) return 1 ;;
  esac
}

# Whether it is a master with slots, as it says itself.
leads() {
  seen=$(look "$NODE")
  set -- $(self "$NODE")
  case "$# ${2-}" in
    [0-3]\ * | *slave*) return 1 ;;
  esac
}

# Hand the slots to a replica, the next if one does not take them. In vain it returns too: who
# asks is about to stop the node.
leave() {
  for name in $NODES; do
    [ "${name%-*}" = "$shard" ] && [ "$name" != "$NODE" ] || continue
    leads || return 0
    # Another shard's replica would take over there.
    shares "$name" || continue
    case $(ask "$name" INFO replication) in
      *role:slave*master_link_status:up*) ;;
      *) continue ;;
    esac
    said=$(ask "$name" CLUSTER FAILOVER)
    say "$NODE hands over to $name: $said"
    looks=0
    while leads && [ "$looks" -lt "$HANDOVER_LOOKS" ]; do
      looks=$((looks + 1))
      sleep "$LOOK_S"
    done
  done
}

task=$1
shift
case $task in
  start) secrets=$2 ;;
  healthy | leave) secrets=$1 ;;
  *)
    say "start, healthy or leave, not $task"
    exit 2
    ;;
esac
shard=${NODE%-*}
admin=
IFS= read -r admin <"$secrets/redis_admin" || [ -n "$admin" ] || exit
$task "$@"
