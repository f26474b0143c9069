package main

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	core "k8s.io/client-go/listers/core/v1"
	storage "k8s.io/client-go/listers/storage/v1"
)

const (
	provisioner = "weir.local/folder"
	interval    = 250 * time.Millisecond
	// The scheduler sets it when a pod needs the claim.
	chosenNode = "volume.kubernetes.io/selected-node"
)

// volumes makes a folder of the node for each claim on one of its storage classes, and removes it when
// its volume is released.
type volumes struct {
	client  kubernetes.Interface
	folder  string
	claims  core.PersistentVolumeClaimLister
	volumes core.PersistentVolumeLister
	classes storage.StorageClassLister
}

func newVolumes(
	factory informers.SharedInformerFactory, client kubernetes.Interface, folder string,
) *volumes {
	return &volumes{
		client:  client,
		folder:  folder,
		claims:  factory.Core().V1().PersistentVolumeClaims().Lister(),
		volumes: factory.Core().V1().PersistentVolumes().Lister(),
		classes: factory.Storage().V1().StorageClasses().Lister(),
	}
}

// serve looks at all claims and volumes of this small cluster again and again, so that nothing needs to
// be remembered.
func (s *volumes) serve(ctx context.Context) {
	for ctx.Err() == nil {
		claims, _ := s.claims.List(labels.Everything())
		for _, claim := range claims {
			if err := s.provide(ctx, claim); err != nil {
				log.Printf("claim %s/%s: %v", claim.Namespace, claim.Name, err)
			}
		}
		all, _ := s.volumes.List(labels.Everything())
		for _, volume := range all {
			if err := s.remove(ctx, volume); err != nil {
				log.Printf("volume %s: %v", volume.Name, err)
			}
		}
		time.Sleep(interval)
	}
}

func (s *volumes) provide(ctx context.Context, claim *v1.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil ||
		claim.Spec.StorageClassName == nil || claim.Annotations[chosenNode] == "" {
		return nil
	}
	class, err := s.classes.Get(*claim.Spec.StorageClassName)
	if err != nil || class.Provisioner != provisioner {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(s.folder, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// Any user of a pod may write, whatever the umask.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	volume := &v1.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner},
		},
		Spec: v1.PersistentVolumeSpec{
			Capacity:                      claim.Spec.Resources.Requests,
			AccessModes:                   claim.Spec.AccessModes,
			StorageClassName:              class.Name,
			PersistentVolumeReclaimPolicy: v1.PersistentVolumeReclaimDelete,
			ClaimRef: &v1.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				HostPath: &v1.HostPathVolumeSource{Path: path},
			},
		},
	}
	_, err = s.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (s *volumes) remove(ctx context.Context, volume *v1.PersistentVolume) error {
	if volume.Annotations["pv.kubernetes.io/provisioned-by"] != provisioner ||
		volume.Status.Phase != v1.VolumeReleased {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(s.folder, volume.Name)); err != nil {
		return err
	}
	err := s.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if errors.IsNotFound(err) {
		return nil
	}
	return err
}
