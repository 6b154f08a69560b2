#!/usr/bin/env bash
# Runs a command of k3s-boot on a runner; `action.yml` runs it. Takes COMMAND and ARGUMENTS from the inputs.
set -uo pipefail

: "${COMMAND?}" "${ARGUMENTS?}"

case $COMMAND in
  check | diff | apps) ;;
  *)
    echo '::error title=k3s-boot::the input command is not check, diff or apps'
    exit 2
    ;;
esac
# Words, without the patterns and expansions of a shell.
read -r -d '' -a arguments <<< "$ARGUMENTS"

report=$RUNNER_TEMP/k3s-boot-$COMMAND.json
output=$RUNNER_TEMP/k3s-boot-$COMMAND.txt
# bash 3.2, which macOS has, takes an empty list for an unset variable.
k3s-boot "$COMMAND" --report "$report" ${arguments[@]+"${arguments[@]}"} | tee "$output"
code=${PIPESTATUS[0]}

# `apps` writes a summary by itself.
if [[ $COMMAND != apps ]]; then
  {
    echo "## k3s-boot $COMMAND"
    echo '<pre>'
    sed -e '/^::/d' -e 's/&/\&amp;/g' -e 's/</\&lt;/g' "$output"
    echo '</pre>'
  } >> "$GITHUB_STEP_SUMMARY"
fi
{
  echo "exit-code=$code"
  echo "report=$report"
} >> "$GITHUB_OUTPUT"
exit "$code"
