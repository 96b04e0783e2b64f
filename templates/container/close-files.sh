# Only their owner may read these files. Arguments: a directory below the home, the files' paths in it.
cd "$HOME/$1" && shift && chmod 0600 -- "$@"
