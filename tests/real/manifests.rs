//! Existing objects of users and of k3s.

/// The bundled CoreDNS of k3s.
pub(crate) const BUNDLED_COREDNS: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: coredns
  namespace: kube-system
  labels: {objectset.rio.cattle.io/hash: bce283298811743a0386ab510f2f67ef74240c57}
data: {Corefile: ''}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: coredns
  namespace: kube-system
  labels: {objectset.rio.cattle.io/hash: bce283298811743a0386ab510f2f67ef74240c57, k8s-app: kube-dns}
spec:
  replicas: 0
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec: {containers: [{name: coredns, image: coredns}]}
---
apiVersion: v1
kind: Service
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {objectset.rio.cattle.io/hash: bce283298811743a0386ab510f2f67ef74240c57}
spec:
  clusterIP: 10.43.0.10
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, port: 53, protocol: UDP}]
";

/// A workload of a user.
pub(crate) const USER_WORKLOAD: &str = "apiVersion: v1
kind: Namespace
metadata: {name: media}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: player, namespace: media}
spec:
  replicas: 0
  selector: {matchLabels: {app: player}}
  template:
    metadata: {labels: {app: player}}
    spec: {containers: [{name: player, image: player}]}
";
