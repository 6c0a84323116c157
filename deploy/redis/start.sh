#!/bin/sh
# Start Redis with the users of deploy/redis/users.acl.
#
#   start.sh USERS SECRETS SERVER [OPTION…]
#
# USERS is that list, SECRETS the folder with the passwords, SERVER the program. The users
# go to the server's standard input, as configuration: no password is in a file that this
# makes, on a command line or in the environment. If there is a user `replica`, the server is
# that user where it copies a master. The containers and the local fleet both begin here
# (docker-compose.yml, lab/fleet/redis_server.py); only sh is needed.
#
# SHARD, in the environment, makes a replica's password another in each shard of a cluster. A
# replica looks for its master where it was last. Were another shard's master there now, the
# replica would throw away what it has, and would count for lines that it is about to throw away.
set -efu

users=$1
secrets=$2
server=$3
shift 3

# password NAME: the password in the secret of that name. The exporter's file is JSON whose
# last text is the password (the exporter takes no other form); any other file is the password.
password() {
  text=
  IFS= read -r text <"$secrets/$1" || [ -n "$text" ]
  text=${text%\"*}
  text=${text##*\"}
  case $text in
    "" | *[!A-Za-z0-9_-]*)
      echo "start.sh: $secrets/$1: a password is letters, digits, - and _" >&2
      return 1
      ;;
    default-*)
      echo "start.sh: the password in $1 is the default, which everyone can read:" \
        "\`make secrets\` makes others" >&2
      ;;
  esac
  printf '%s' "$text"
}

rules=
copying=
while read -r line; do
  for word in ${line%%#*}; do
    case $word in
      user)
        rules="$rules
user"
        user=
        ;;
      "{"*"}")
        name=${word#?}
        secret=$(password "${name%?}")
        if [ "$user" = replica ]; then
          secret=$secret${SHARD-}
          copying="masteruser replica
masterauth $secret"
        fi
        rules="$rules >$secret"
        ;;
      *)
        rules="$rules $word"
        user=${user:-$word}
        ;;
    esac
  done
done <"$users"

exec "$server" - "$@" <<RULES
$rules
$copying
RULES
