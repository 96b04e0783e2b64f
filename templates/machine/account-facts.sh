# uses lib.sh
# The account's images and its machine file, one JSON object a line. Runs as the service account.
# Arguments: the machine file below the home, then the tags of images. Exits 0 where nothing is there.
file=$1
shift
podman_is_configured || exit 0
for tag in "$@"; do
  format='{"tag": "'"$tag"'", "id": "sha256:{{.Id}}", "labels": {{json .Labels}}'
  format="$format"', "digest": "{{.Digest}}", "digests": {{json .RepoDigests}}}'
  podman image inspect --format "$format" "$tag" 2>/dev/null
done
cat "$HOME/$file" 2>/dev/null | tr '\n' ' '
exit 0
