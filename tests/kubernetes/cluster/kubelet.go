package main

func kubelet() {}
