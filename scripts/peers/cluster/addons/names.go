package main

import (
	"log"
	"net"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	v1 "k8s.io/api/core/v1"
	endpoints "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	core "k8s.io/client-go/listers/core/v1"
	discovery "k8s.io/client-go/listers/discovery/v1"
)

// A client that asks again soon sees a Service's new pods soon.
const ttlSeconds = 2

// names answers for SERVICE.NAMESPACE.svc.DOMAIN and, where a pod has one, HOSTNAME before it. All other
// names do not exist.
type names struct {
	suffix   string
	services core.ServiceLister
	slices   discovery.EndpointSliceLister
}

func newNames(factory informers.SharedInformerFactory, domain string) *names {
	return &names{
		suffix:   ".svc." + domain + ".",
		services: factory.Core().V1().Services().Lister(),
		slices:   factory.Discovery().V1().EndpointSlices().Lister(),
	}
}

func (n *names) serve(socket net.PacketConn) {
	question := make([]byte, 4096)
	for {
		length, from, err := socket.ReadFrom(question)
		if err != nil {
			log.Fatal(err)
		}
		answer, err := n.answer(question[:length])
		if err != nil {
			log.Printf("%v: %v", from, err)
			continue
		}
		if _, err := socket.WriteTo(answer, from); err != nil {
			log.Printf("%v: %v", from, err)
		}
	}
}

func (n *names) answer(packed []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(packed)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	addresses, known := n.addresses(strings.ToLower(question.Name.String()))
	message := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID:                 header.ID,
			Response:           true,
			Authoritative:      true,
			RecursionDesired:   header.RecursionDesired,
			RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{question},
	}
	if !known {
		message.RCode = dnsmessage.RCodeNameError
	}
	if question.Type == dnsmessage.TypeA {
		for _, address := range addresses {
			message.Answers = append(message.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{
					Name: question.Name, Class: dnsmessage.ClassINET, TTL: ttlSeconds,
				},
				Body: &dnsmessage.AResource{A: address},
			})
		}
	}
	return message.Pack()
}

// addresses are those of a name, and whether the name exists at all.
func (n *names) addresses(name string) ([][4]byte, bool) {
	inside, ok := strings.CutSuffix(name, n.suffix)
	if !ok {
		return nil, false
	}
	parts := strings.Split(inside, ".")
	hostname := ""
	if len(parts) == 3 {
		hostname, parts = parts[0], parts[1:]
	}
	if len(parts) != 2 {
		return nil, false
	}
	service, err := n.services.Services(parts[1]).Get(parts[0])
	if err != nil {
		return nil, false
	}
	var found [][4]byte
	if service.Spec.ClusterIP != v1.ClusterIPNone {
		return with(found, service.Spec.ClusterIP), hostname == ""
	}
	all, err := n.slices.EndpointSlices(parts[1]).List(
		labels.SelectorFromSet(labels.Set{endpoints.LabelServiceName: parts[0]}))
	if err != nil {
		return nil, false
	}
	for _, slice := range all {
		for _, endpoint := range slice.Endpoints {
			named := endpoint.Hostname != nil && *endpoint.Hostname == hostname
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			if (hostname == "" || named) && (ready || service.Spec.PublishNotReadyAddresses) {
				for _, address := range endpoint.Addresses {
					found = with(found, address)
				}
			}
		}
	}
	return found, hostname == "" || len(found) > 0
}

func with(found [][4]byte, address string) [][4]byte {
	if four := net.ParseIP(address).To4(); four != nil {
		found = append(found, [4]byte(four))
	}
	return found
}
