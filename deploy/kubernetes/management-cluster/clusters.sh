#!/bin/sh
# Writes an overlay for each cluster whose kubeconfig Cluster API has stored in a namespace, and lists all overlays in
# clusters/kustomization.yaml. Overlays that exist are kept.
#
# usage: clusters.sh NAMESPACE
set -eu

namespace=${1:?usage: clusters.sh NAMESPACE}
cd -- "$(dirname -- "$0")/clusters"

secrets=$(kubectl get secrets --namespace "$namespace" --selector cluster.x-k8s.io/cluster-name \
  --field-selector type=cluster.x-k8s.io/secret \
  --output 'jsonpath={range .items[*]}{.metadata.labels.cluster\.x-k8s\.io/cluster-name} {.metadata.name}{"\n"}{end}')

# Cluster API has other Secrets of this type, among them kubeconfigs of users.
echo "$secrets" | while read -r cluster secret; do
  if [ "$secret" = "$cluster-kubeconfig" ] && [ ! -e "$cluster" ]; then
    mkdir "$cluster"
    sed "s/^namePrefix: .*/namePrefix: $cluster-/" example/kustomization.yaml > "$cluster/kustomization.yaml"
    echo "added $cluster"
  fi
done

{
  printf '%s\n' --- 'apiVersion: kustomize.config.k8s.io/v1beta1' 'kind: Kustomization' resources:
  for overlay in */kustomization.yaml; do
    [ "$overlay" = example/kustomization.yaml ] || echo "  - ${overlay%/*}"
  done
} > kustomization.yaml
