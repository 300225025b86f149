package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// Stands in for the scheduler and the kubelet of one node: a pod is a process in a network namespace of its own, with an address on a
// bridge; one with hostNetwork is in the namespace of the control plane. The first container's command is a program of this host.
type kubeletState struct {
	client *kubernetes.Clientset
	node   string
	bridge string
	nodeIP string
	mutex  sync.Mutex
	pods   map[types.UID]*runningPod
	next   int
}

type runningPod struct {
	process *exec.Cmd
	space   string
	ip      string
	end     chan struct{}
	stopped bool
}

func kubelet() {
	flags := flag.NewFlagSet("kubelet", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "how the API server is reached")
	node := flags.String("node", "node-1", "the name of the node")
	bridge := flags.String("bridge", "", "the bridge that pods are attached to; it has 10.88.0.1/16")
	nodeIP := flags.String("node-ip", "10.88.0.1", "the address of the node")
	_ = flags.Parse(os.Args[1:])
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	config.QPS, config.Burst = 200, 400
	state := &kubeletState{client: kubernetes.NewForConfigOrDie(config), node: *node, bridge: *bridge, nodeIP: *nodeIP, pods: map[types.UID]*runningPod{}}
	ctx := context.Background()
	state.register(ctx)
	watched := cache.NewListWatchFromClient(state.client.CoreV1().RESTClient(), "pods", "", fields.Everything())
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: watched,
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { state.see(ctx, object.(*corev1.Pod)) },
			UpdateFunc: func(_, object any) { state.see(ctx, object.(*corev1.Pod)) },
			DeleteFunc: func(object any) {
				if pod, ok := object.(*corev1.Pod); ok {
					go state.stop(ctx, pod, 0)
				}
			},
		},
	})
	informer.Run(ctx.Done())
}

// register makes the node, ready and without the taint that new nodes have.
func (state *kubeletState) register(ctx context.Context) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: state.node, Labels: map[string]string{"kubernetes.io/hostname": state.node}},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: state.nodeIP}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}},
		},
	}
	if _, err := state.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		log.Println("node:", err)
	}
	for range 50 {
		patch := []byte(`{"spec":{"taints":null}}`)
		_, err := state.client.CoreV1().Nodes().Patch(ctx, state.node, types.MergePatchType, patch, metav1.PatchOptions{})
		if err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if _, err := state.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		log.Println("node status:", err)
	}
}

// see binds a pod that has no node, starts one that is new, and stops one that is to end.
func (state *kubeletState) see(ctx context.Context, pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		grace := int64(30)
		if pod.DeletionGracePeriodSeconds != nil {
			grace = *pod.DeletionGracePeriodSeconds
		}
		go state.stop(ctx, pod, time.Duration(grace)*time.Second)
		return
	}
	if pod.Spec.NodeName == "" {
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}, Target: corev1.ObjectReference{Kind: "Node", Name: state.node}}
		if err := state.client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
			log.Println("bind:", err)
		}
		return
	}
	state.mutex.Lock()
	defer state.mutex.Unlock()
	if pod.Spec.NodeName != state.node || state.pods[pod.UID] != nil {
		return
	}
	state.next++
	running := &runningPod{end: make(chan struct{})}
	state.pods[pod.UID] = running
	number := state.next
	go state.run(ctx, pod.DeepCopy(), running, number)
}

func command(words ...string) error {
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, out)
	}
	return nil
}

// run starts the process of a pod and tells how it stands until it ends.
func (state *kubeletState) run(ctx context.Context, pod *corev1.Pod, running *runningPod, number int) {
	container := pod.Spec.Containers[0]
	paths, folder, err := state.mount(ctx, pod)
	if err != nil {
		log.Println("pod volumes:", err)
		return
	}
	defer os.RemoveAll(folder)
	words := replaced(paths, append(append([]string{}, container.Command...), container.Args...))
	if probe := container.ReadinessProbe; probe != nil && probe.Exec != nil {
		probe.Exec.Command = replaced(paths, probe.Exec.Command)
	}
	running.ip = state.nodeIP
	if !pod.Spec.HostNetwork {
		running.ip = fmt.Sprintf("10.88.%d.%d", 1+number/250, 1+number%250)
		running.space = fmt.Sprintf("pod-%d-%d", os.Getpid()%10000, number)
		if err := state.connect(running, number); err != nil {
			log.Println("pod network:", err)
			return
		}
		words = append([]string{"ip", "netns", "exec", running.space}, words...)
	}
	process := exec.Command(words[0], words[1:]...)
	process.Env = append(os.Environ(), "POD_NAME="+pod.Name, "POD_NAMESPACE="+pod.Namespace, "POD_IP="+running.ip)
	for _, variable := range container.Env {
		if variable.Value != "" {
			process.Env = append(process.Env, variable.Name+"="+variable.Value)
		}
	}
	process.Stdout, process.Stderr = os.Stderr, os.Stderr
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := process.Start(); err != nil {
		log.Println("pod:", err)
		return
	}
	running.process = process
	go func() {
		_ = process.Wait()
		close(running.end)
	}()
	ready := false
	for {
		now := state.probe(container, running.ip)
		if now != ready {
			ready = now
			state.tell(ctx, pod, running, ready)
		}
		select {
		case <-running.end:
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// mount makes a folder for each volume of a pod: empty, or with the files of a ConfigMap. A pod here has the host's own files, so that the
// paths of its mounts are replaced in its words, and in the files of ConfigMaps, by those folders.
func (state *kubeletState) mount(ctx context.Context, pod *corev1.Pod) (*strings.Replacer, string, error) {
	folder, err := os.MkdirTemp("", "pod-")
	if err != nil {
		return nil, "", err
	}
	pairs := []string{}
	for _, mount := range pod.Spec.Containers[0].VolumeMounts {
		pairs = append(pairs, mount.MountPath, filepath.Join(folder, mount.Name))
	}
	paths := strings.NewReplacer(pairs...)
	for _, volume := range pod.Spec.Volumes {
		own := filepath.Join(folder, volume.Name)
		if err := os.Mkdir(own, 0o755); err != nil {
			return nil, folder, err
		}
		if volume.ConfigMap == nil {
			continue
		}
		found, err := state.client.CoreV1().ConfigMaps(pod.Namespace).Get(ctx, volume.ConfigMap.Name, metav1.GetOptions{})
		if err != nil {
			return nil, folder, err
		}
		for name, text := range found.Data {
			if err := os.WriteFile(filepath.Join(own, name), []byte(paths.Replace(text)), 0o644); err != nil {
				return nil, folder, err
			}
		}
	}
	return paths, folder, nil
}

func replaced(paths *strings.Replacer, words []string) []string {
	out := make([]string, 0, len(words))
	for _, word := range words {
		out = append(out, paths.Replace(word))
	}
	return out
}

// connect makes the namespace of a pod and attaches it to the bridge.
func (state *kubeletState) connect(running *runningPod, number int) error {
	outside, inside := fmt.Sprintf("veth%d", number), "eth0"
	for _, words := range [][]string{
		{"ip", "netns", "add", running.space},
		{"ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", running.space},
		{"ip", "link", "set", outside, "master", state.bridge, "up"},
		{"ip", "-n", running.space, "addr", "add", running.ip + "/16", "dev", inside},
		{"ip", "-n", running.space, "link", "set", inside, "up"},
		{"ip", "-n", running.space, "link", "set", "lo", "up"},
	} {
		if err := command(words...); err != nil {
			return err
		}
	}
	return nil
}

// probe asks for readiness as the container says: by HTTP, by TCP, or not at all.
func (state *kubeletState) probe(container corev1.Container, ip string) bool {
	probe := container.ReadinessProbe
	switch {
	case probe == nil:
		return true
	case probe.HTTPGet != nil:
		client := http.Client{Timeout: time.Second}
		response, err := client.Get(fmt.Sprintf("http://%s:%d%s", ip, probe.HTTPGet.Port.IntValue(), probe.HTTPGet.Path))
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode < 400
	case probe.TCPSocket != nil:
		connection, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", ip, probe.TCPSocket.Port.IntValue()), time.Second)
		if err != nil {
			return false
		}
		_ = connection.Close()
		return true
	case probe.Exec != nil:
		return command(probe.Exec.Command...) == nil
	}
	return true
}

// tell writes the status of a pod.
func (state *kubeletState) tell(ctx context.Context, pod *corev1.Pod, running *runningPod, ready bool) {
	status, word := corev1.ConditionFalse, "false"
	if ready {
		status, word = corev1.ConditionTrue, "true"
	}
	condition := func(kind string) string {
		return fmt.Sprintf(`{"type":%q,"status":%q,"lastTransitionTime":%q}`, kind, status, time.Now().UTC().Format(time.RFC3339))
	}
	patch := fmt.Sprintf(`{"status":{"phase":"Running","hostIP":%q,"podIP":%q,"podIPs":[{"ip":%q}],"conditions":[%s,%s],
		"containerStatuses":[{"name":%q,"ready":%s,"started":true,"image":"","imageID":"","restartCount":0,"state":{"running":{"startedAt":%q}}}]}}`,
		state.nodeIP, running.ip, running.ip, condition("Ready"), condition("ContainersReady"), pod.Spec.Containers[0].Name, word,
		time.Now().UTC().Format(time.RFC3339))
	_, err := state.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		log.Println("status:", err)
	}
}

// stop ends a pod as a kubelet does: SIGTERM, SIGKILL after its grace, and then the object.
func (state *kubeletState) stop(ctx context.Context, pod *corev1.Pod, grace time.Duration) {
	state.mutex.Lock()
	running := state.pods[pod.UID]
	if running != nil && running.stopped {
		state.mutex.Unlock()
		return
	}
	if running != nil {
		running.stopped = true
	}
	state.mutex.Unlock()
	if running != nil && running.process != nil {
		_ = syscall.Kill(-running.process.Process.Pid, syscall.SIGTERM)
		select {
		case <-running.end:
		case <-time.After(grace):
			_ = syscall.Kill(-running.process.Process.Pid, syscall.SIGKILL)
			<-running.end
		}
		if running.space != "" {
			_ = command("ip", "netns", "delete", running.space)
		}
	}
	now := int64(0)
	_ = state.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
}
