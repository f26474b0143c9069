// Command addons is what a cluster has beside Kubernetes itself: names for Services, and volumes for
// claims.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	config := flag.String("kubeconfig", "", "who asks the API server")
	listen := flag.String("listen", "", "address and port of the name server")
	domain := flag.String("domain", "cluster.local", "the cluster's domain")
	folder := flag.String("volumes", "", "folder of the volumes")
	flag.Parse()
	rest, err := clientcmd.BuildConfigFromFlags("", *config)
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		log.Fatal(err)
	}
	socket, err := net.ListenPacket("udp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	factory := informers.NewSharedInformerFactory(client, 0)
	names := newNames(factory, *domain)
	volumes := newVolumes(factory, client, *folder)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go volumes.serve(ctx)
	go names.serve(socket)
	<-ctx.Done()
}
