#!/usr/bin/env bash
# kustomize 5.8.2: field names of a kustomization are taken in any case, and of one field in two
# spellings only the one that sorts last counts, without a word, although an unknown field is an
# error.
#
# Seen: `Resources: [a.yaml]` and `resources: [b.yaml]` in one file, in either order, build b alone;
# with `Resources` by itself a is built.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GOPATH=$work/go GOCACHE=$work/cache GOFLAGS=-modcacherw GOBIN=$work/bin
go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.2

mkdir "$work/app"
cd "$work"
for name in a b; do
  printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n' "$name" > "app/$name.yaml"
done

expect() {
  cat > app/kustomization.yaml
  found=$(bin/kustomize build app 2> error | sed -n 's/^  name: //p' | tr '\n' ' ')
  [ "$found" = "$1" ] || { echo "changed: builds '$found' where '$1' was seen" >&2; exit 1; }
  [ ! -s error ] || { echo "changed: it says $(cat error)" >&2; exit 1; }
}
printf 'Resources: [a.yaml]\n' | expect "a "
printf 'Resources: [a.yaml]\nresources: [b.yaml]\n' | expect "b "
printf 'resources: [b.yaml]\nResources: [a.yaml]\n' | expect "b "
echo "as described: of two spellings the one that sorts last counts, and nothing is said"
