#!/usr/bin/env bash
# Starts a sublayer type from a commented template that trains as it is: layers/mixers/NAME.h and NAME.cpp, and its line
# in the registry. Usage: launch/new_sublayer.sh NAME, such as my_mixer.
set -euo pipefail

fail() {
    echo "new_sublayer.sh: $1" >&2
    exit 2
}

(($# == 1)) || fail "expected one name, such as my_mixer, found $# arguments"
name=$1
[[ $name =~ ^[a-z][a-z0-9]*(_[a-z0-9]+)*$ ]] ||
    fail "expected a name of small letters, digits and single _, found '$name'"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
registry=layers/model/registry.cpp
grep -q "[^a-z_]${name}_type()" "$registry" && fail "$registry has a type $name already"
for file in "layers/mixers/$name.h" "layers/mixers/$name.cpp"; do
    [[ -e $file ]] && fail "$file exists already"
done

class=$(sed -E 's/(^|_)([a-z0-9])/\U\2/g' <<< "$name")
for ending in h cpp; do
    sed "s/@name@/$name/g; s/@Name@/$class/g" "launch/templates/sublayer.$ending.in" > "layers/mixers/$name.$ending"
done
include="#include \"layers/mixers/$name.h\""
sed -i "/#include \"layers\/mixers\/attention_config.h\"/i $include" "$registry"
sed -i "s/\\bmlp_type(),/${name}_type(), &/" "$registry"
if command -v clang-format > /dev/null; then
    clang-format -i "layers/mixers/$name.h" "layers/mixers/$name.cpp" "$registry"
fi

cat << END
layers/mixers/$name.h, layers/mixers/$name.cpp and a line in $registry: the type can be built and trained now.
Then:
  1. write forward() in $name.cpp, with its equation and paper in $name.h;
  2. write the same once more, token by token, in tests/layers/reference_mixers.cpp, and name it in branch() of
     tests/layers/reference.cpp;
  3. build/cpu/braid config keys --markdown > docs/config.md;
  4. ctest --preset cpu -R 'layers|sublayer_types|structure': gradients, norms, documents, recomputation, generation,
     every layout, bf16;
  5. with its author's code in PyTorch: tests/support/compare_torch.py (its head says how).
END
